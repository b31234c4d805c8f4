"""Logging in, by a token or by a ticket, and out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from aiohttp import web
from aiohttp.typedefs import Handler

from finetuner.errors import NotLoggedIn
from finetuner.server import asked, keys
from finetuner.server.auth import bearer
from finetuner.server.console import guard, pages
from finetuner.server.console.sessions import SESSIONS, TICKET_S
from finetuner.server.store import users


async def form(request: web.Request) -> web.StreamResponse:
    """Show the form; with a ticket, log in at once, unless another page made the browser come here."""
    onward = guard.safe_next(request.query.get("next"))
    ticket = request.query.get("ticket")
    if ticket is None:
        return _form(request, onward)
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        return pages.page(request, "ticket.html", ticket=ticket, next=onward)
    return _redeemed(request, ticket, onward)


async def log_in(request: web.Request) -> web.StreamResponse:
    """Open a session for the token that was typed in, or for a ticket."""
    given = await guard.form(request)
    onward = guard.safe_next(given.get("next"))
    if "ticket" in given:
        return _redeemed(request, given["ticket"], onward)
    token = given.get("token", "").strip()
    async with request.app[keys.DATABASE].read() as conn:
        user = await users.by_token(conn, token) if token else None
    if user is None:
        said = "The server does not know this token, or its user was disabled." if token else "Paste a token."
        return _form(request, onward, problem=said, status=403)
    return _opened(request, users.token_sha256(token), pages.redirect(onward))


def _redeemed(request: web.Request, ticket: str, onward: str) -> web.Response:
    token_sha256 = request.app[SESSIONS].redeem(ticket)
    if token_sha256 is None:
        said = "This link was used before, or is too old. Ask for a new one."
        return _form(request, onward, problem=said, status=403)
    # No redirect: a browser that another program sent here would not send the new cookie along with one.
    return _opened(request, token_sha256, pages.page(request, "onward.html", path=onward))


async def log_out(request: web.Request) -> web.StreamResponse:
    """End the session."""
    request.app[SESSIONS].close(request.cookies.get(guard.cookie_name(request), ""))
    response = pages.redirect(f"{guard.ROOT}/login")
    guard.drop_cookie(request, response)
    return response


async def ticket(request: web.Request) -> web.Response:
    """Give a link that opens the console for the owner of the token, once and soon."""
    asked.only(request, "next")
    onward = request.query.get("next")
    if onward is not None and guard.safe_next(onward) != onward:
        raise asked.refused("next", f"must be the path of a page under {guard.HOME}, not {onward[:80]!r}")
    token = bearer(request)
    if token is None:
        raise NotLoggedIn("this call needs a token, sent as 'Authorization: Bearer TOKEN'")
    made = request.app[SESSIONS].issue(users.token_sha256(token))
    path = f"{guard.ROOT}/login?ticket={made}" + ("" if onward is None else f"&next={quote(onward, safe='')}")
    return asked.json_response({"path": path, "expires_s": TICKET_S}, status=201)


def _opened(request: web.Request, token_sha256: str, response: web.Response) -> web.Response:
    sessions = request.app[SESSIONS]
    sessions.close(request.cookies.get(guard.cookie_name(request), ""))
    guard.set_cookie(request, response, sessions.open(token_sha256))
    return response


def _form(request: web.Request, onward: str, *, problem: str = "", status: int = 200) -> web.Response:
    is_embedded = request.app[keys.SETTINGS].embedded
    return pages.page(request, "login.html", status=status, next=onward, problem=problem, is_embedded=is_embedded)


HANDLERS: Final[Mapping[str, Handler]] = {"console_ticket": ticket}
