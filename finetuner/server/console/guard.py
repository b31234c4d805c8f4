"""Which requests the console takes: from whom, under which host, and from which page."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web

from finetuner.errors import InvalidInput, NotAllowed, NotLoggedIn
from finetuner.server import keys
from finetuner.server.console.peer import owner_of
from finetuner.server.console.sessions import SESSION, SESSIONS, is_own_form
from finetuner.server.store import users

ROOT: Final = "/console"
HOME: Final = f"{ROOT}/"
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_PATH: Final = re.compile(r"/console/[A-Za-z0-9/_?=&%.~+-]{0,2000}", re.ASCII)
FORM_KEY: Final = "form_key"
_MOST_FIELDS: Final = 20


def check_host(request: web.Request) -> None:
    """Refuse a page of the embedded server under any name but this machine's own: a name can be made to point here.

    Raises:
        NotAllowed: The name is another's.
    """
    if request.app[keys.SETTINGS].embedded and host_of(request.host) not in _LOOPBACK:
        raise NotAllowed("this server is for its own machine: open its pages under 127.0.0.1 or localhost")


def check_peer(request: web.Request) -> None:
    """Refuse the embedded server's pages to processes of other users of this machine, where the system tells whose.

    A link that logs in can be read off a command line, and a cookie is sent to every port of its host: neither is of
    use to somebody else here.

    Raises:
        NotAllowed: It is another user's.
    """
    transport = request.transport
    if not request.app[keys.SETTINGS].embedded or transport is None:
        return
    peer, local = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
    owner = owner_of(peer[:2], local[:2]) if peer and local else None
    if owner not in {None, 0, os.getuid()}:
        raise NotAllowed("this server is another user's: start your own, which any `finetuner` command does")


def host_of(authority: str) -> str:
    """Give the host of `host:port`, without brackets; nothing where it is malformed."""
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return ""


def check_origin(request: web.Request) -> None:
    """Refuse a form that another page sent; pages on another port of the same host are others too.

    Raises:
        NotAllowed: It did.
    """
    if not is_own_origin(request.headers, request.host):
        raise NotAllowed("this form was sent by another page: open the console, and do it there")


def is_own_origin(headers: Mapping[str, str], host: str) -> bool:
    """Whether a request was made by a page of this server, or by nobody's page.

    Args:
        headers: Of the request.
        host: What its Host header says.
    """
    site = headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in {"same-origin", "none"}
    # Browsers say it to trustworthy addresses alone; what is no browser says neither.
    origin = headers.get("Origin")
    return origin is None or (origin != "null" and urlsplit(origin).netloc == host)


async def identify(request: web.Request) -> None:
    """Find out whose session this is; `auth.user_of` then gives the user.

    Raises:
        NotLoggedIn: There is no session, or its token is no longer known.
    """
    sessions = request.app[SESSIONS]
    session = sessions.get(request.cookies.get(cookie_name(request), ""))
    if session is None:
        raise NotLoggedIn("log in to see this page")
    user = await request.app[keys.DATABASE].reading(lambda conn: users.by_token_sha256(conn, session.token_sha256))
    if user is None:
        raise NotLoggedIn("the token of this session was replaced, or its user disabled: log in again")
    request[SESSION] = session
    request[keys.USER] = user
    request[keys.TOKEN_SHA256] = session.token_sha256


async def form(request: web.Request) -> dict[str, str]:
    """Read the fields of a form; of several of one name the last.

    Raises:
        InvalidInput: It is none of this console's.
    """
    if request.content_type != "application/x-www-form-urlencoded":
        raise InvalidInput("a form of the console is sent as application/x-www-form-urlencoded")
    text = (await request.read()).decode("utf-8", "replace")
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError as error:
        raise InvalidInput(f"this form cannot be read: {error}") from error


async def check_form(request: web.Request) -> None:
    """Refuse a form that was not made for this session.

    Raises:
        NotAllowed: It was not.
        InvalidInput: It is no form.
    """
    if not is_own_form(request[SESSION], (await form(request)).get(FORM_KEY, "")):
        raise NotAllowed("this form belongs to an earlier session: open the page again, and repeat it")


def cookie_name(request: web.Request) -> str:
    """Give the name of the session's cookie: cookies know no ports, and servers on one host must not share one."""
    _, _, port = request.host.rpartition(":")
    return f"finetuner_session_{port}" if port.isascii() and port.isdigit() else "finetuner_session"


def set_cookie(request: web.Request, response: web.StreamResponse, secret: str) -> None:
    """Give a browser its session; the pages alone get it, the API takes no cookie."""
    response.set_cookie(
        cookie_name(request),
        secret,
        path=ROOT,
        httponly=True,
        samesite="Strict",
        secure=is_https(request),
    )


def drop_cookie(request: web.Request, response: web.StreamResponse) -> None:
    """Have a browser forget its session."""
    response.del_cookie(
        cookie_name(request), path=ROOT, httponly=True, samesite="Strict", secure=is_https(request) or None
    )


def is_https(request: web.Request) -> bool:
    """Whether the browser came by TLS, as far as a proxy says; a lie would only harm who tells it."""
    return request.secure or request.headers.get("X-Forwarded-Proto", "").strip().lower() == "https"


def safe_next(path: str | None) -> str:
    """Give the page to go to after a login: a page of the console, whatever was asked for."""
    if path is None or not _PATH.fullmatch(path) or "//" in path or ".." in path:
        return HOME
    return path
