"""Who asks: the token of a request, and whether the route is for its owner.

A token is looked up in the database at each request: from the moment that it is refused, by another process too, it
opens nothing. The look costs as much as a short read, so that a handler that reads or writes once can have it done
within that: it is marked with `looks_within`, and reads by `reading` or writes by `writing`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler

from finetuner.api.routes import Who
from finetuner.errors import NotAllowed, NotLoggedIn
from finetuner.server import keys
from finetuner.server.store import users
from finetuner.server.store.database import Connection, Transaction
from finetuner.server.store.users import User

T = TypeVar("T")
C = TypeVar("C", bound=Connection)
_SCHEMES: Final = frozenset({"bearer", "token"})
_MOST: Final = 1000
_UNKNOWN: Final = "this token is unknown to the server, or was disabled"
_LOOKING_WITHIN: Final[set[Handler]] = set()


class Recalled(dict[str, User]):
    """Users by the sha256 of a token of theirs, as they were at the last look; `keep` adds one."""

    def keep(self, sha256: str, user: User) -> None:
        """Recall a user from now on, in place of the oldest where there are many."""
        if len(self) >= _MOST:
            del self[next(iter(self))]
        self[sha256] = user


RECALLED: Final = web.AppKey("recalled", Recalled)


def looks_within(handler: Handler) -> Handler:
    """Mark a handler that changes nothing but by `writing`: the token is looked up in that, or in its `reading`."""
    _LOOKING_WITHIN.add(handler)
    return handler


def guarded(who: Who, handler: Handler) -> Handler:
    """Give a handler that is called for those alone that a route is for."""
    is_brief = handler in _LOOKING_WITHIN and who == "user"

    async def call(request: web.Request) -> web.StreamResponse:
        if not (is_brief and _recall(request)):
            await identify(request, who)
            return await handler(request)
        try:
            response = await handler(request)
        except Exception:  # any answer at all, a refusal or a fault, is for those alone whose token stands
            await _look_at_last(request, who)
            raise
        await _look_at_last(request, who)
        return response

    return call


async def _look_at_last(request: web.Request, who: Who) -> None:
    """Look the token up where the handler came to its end without: a refused token is said before anything else."""
    if keys.IS_RECALLED in request:
        await identify(request, who)


def _recall(request: web.Request) -> bool:
    """Take who asks for the one that he was at his last request, until it is looked up; whether that can be."""
    token = bearer(request)
    if token is None:
        return False
    sha256 = users.token_sha256(token)
    user = request.app[RECALLED].get(sha256)
    if user is None:
        return False
    request[keys.USER], request[keys.TOKEN_SHA256], request[keys.IS_RECALLED] = user, sha256, True
    return True


async def reading(
    request: web.Request, function: Callable[[Connection], Coroutine[Any, Any, T]], *, is_snapshot: bool = False
) -> T:
    """Read as `Database.reading` does, the token looked up before.

    Raises:
        NotLoggedIn: It is refused by now.
    """
    database = request.app[keys.DATABASE]
    return await _looked(request, database.reading(_looking(request, function), is_snapshot=is_snapshot))


async def writing(request: web.Request, function: Callable[[Transaction], Coroutine[Any, Any, T]]) -> T:
    """Write as `Database.writing` does, the token looked up before.

    Raises:
        NotLoggedIn: It is refused by now.
    """
    return await _looked(request, request.app[keys.DATABASE].writing(_looking(request, function)))


def _looking(
    request: web.Request, function: Callable[[C], Coroutine[Any, Any, T]]
) -> Callable[[C], Coroutine[Any, Any, T]]:
    if keys.IS_RECALLED not in request:
        return function
    sha256, recalled = request[keys.TOKEN_SHA256], request[keys.USER]

    async def looked_up(conn: C) -> T:
        user = await users.by_token_sha256(conn, sha256)
        if user is None or user.id != recalled.id:
            raise NotLoggedIn(_UNKNOWN)
        return await function(conn)

    return looked_up


async def _looked(request: web.Request, done: Awaitable[T]) -> T:
    value = await done
    request.pop(keys.IS_RECALLED, None)
    return value


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
    request.pop(keys.IS_RECALLED, None)
    if user is None:
        request.app[RECALLED].pop(sha256, None)
        raise NotLoggedIn(_UNKNOWN)
    request.app[RECALLED].keep(sha256, user)
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
