"""Who asks: the token of a request, and whether the route is for its owner."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from finetuner.api.routes import Who
from finetuner.errors import NotAllowed, NotLoggedIn
from finetuner.server import keys
from finetuner.server.store import users
from finetuner.server.store.users import User

_SCHEMES: Final = frozenset({"bearer", "token"})


async def identify(request: web.Request, who: Who) -> None:
    """Find out whose request this is; `user_of` then gives the user.

    Raises:
        NotLoggedIn: The token is missing, unknown or disabled.
        NotAllowed: The route is for admins, and this user is none.
    """
    if who == "anyone":
        return
    token = bearer(request)
    if token is None:
        raise NotLoggedIn("this call needs a token, sent as 'Authorization: Bearer TOKEN'")
    sha256 = users.token_sha256(token)
    user = await request.app[keys.DATABASE].reading(lambda conn: users.by_token_sha256(conn, sha256))
    if user is None:
        raise NotLoggedIn("this token is unknown to the server, or was disabled")
    if who == "admin" and not user.is_admin:
        raise NotAllowed(f"this call is for admins, and {user.name!r} is none")
    request[keys.USER] = user
    request[keys.TOKEN_SHA256] = sha256


def bearer(request: web.Request) -> str | None:
    """Give the token that a request carries, if it does."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() in _SCHEMES else None


def user_of(request: web.Request) -> User:
    """Give the user whose request this is, on a route that needs one."""
    return request[keys.USER]
