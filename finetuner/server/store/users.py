"""Who may use the service. A token is shown once; the database has its SHA-256 alone."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any, Final

import attrs
from sqlalchemy import Row, bindparam, delete, insert, select, update

from finetuner.api.names import check_name
from finetuner.errors import Conflict, InvalidInput
from finetuner.server.store import clock
from finetuner.server.store.database import Connection, Transaction
from finetuner.server.store.tables import TOKENS, USERS

LOCAL: Final = "local"
"""The one user of an embedded server."""
_COLUMNS: Final = (USERS.c.id, USERS.c.name, USERS.c.is_admin, USERS.c.disabled)
_BY_TOKEN: Final = (
    select(*_COLUMNS, TOKENS.c.sha256)
    .select_from(TOKENS.join(USERS, USERS.c.id == TOKENS.c.user_id))
    .where(TOKENS.c.sha256 == bindparam("sha256"))
)


@attrs.frozen(kw_only=True)
class User:
    """Somebody who has a token."""

    id: int
    name: str
    is_admin: bool
    disabled: bool


def _user(row: Row[Any]) -> User:
    return User(id=row.id, name=row.name, is_admin=row.is_admin, disabled=row.disabled)


def token_sha256(token: str) -> str:
    """Give what the database has of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


async def by_token(conn: Connection, token: str) -> User | None:
    """Give the user of a token; None where there is none, or the user is disabled."""
    return await by_token_sha256(conn, token_sha256(token))


async def by_token_sha256(conn: Connection, sha256: str) -> User | None:
    """Give the user of a token that is known by its sha256."""
    row = await conn.first(_BY_TOKEN, {"sha256": sha256})
    if row is None or not hmac.compare_digest(row.sha256, sha256) or row.disabled:
        return None
    return _user(row)


async def by_name(conn: Connection, name: str) -> User | None:
    """Give a user by name."""
    row = await conn.first(select(*_COLUMNS).where(USERS.c.name == name))
    return None if row is None else _user(row)


async def list_all(conn: Connection) -> list[User]:
    """Give every user, in the order of their creation."""
    return [_user(row) for row in await conn.all(select(*_COLUMNS).order_by(USERS.c.id))]


async def create(tx: Transaction, name: str, *, is_admin: bool = False) -> User:
    """Add a user, who has no token yet.

    Raises:
        InvalidName: Nobody can have that name.
        Conflict: There is one of that name.
    """
    check_name(name, "user")
    if await by_name(tx, name) is not None:
        raise Conflict(f"there is a user {name!r} already; choose another name")
    values = {"name": name, "is_admin": is_admin, "disabled": False, "created_at": clock.now()}
    return User(id=await tx.insert(insert(USERS), values), name=name, is_admin=is_admin, disabled=False)


async def issue_token(tx: Transaction, user_id: int, *, token: str | None = None) -> str:
    """Give a user one more token, of 256 random bits where none is given; it cannot be read again."""
    issued = secrets.token_urlsafe(32) if token is None else token
    values = {"sha256": token_sha256(issued), "user_id": user_id, "created_at": clock.now()}
    await tx.run(insert(TOKENS), values)
    return issued


async def renew_token(tx: Transaction, name: str, *, is_kept: bool = False) -> str:
    """Give a user a new token, in place of those it had unless they are kept.

    Raises:
        InvalidInput: There is no such user.
    """
    user = await by_name(tx, name)
    if user is None:
        raise _unknown(name)
    if not is_kept:
        await tx.run(delete(TOKENS).where(TOKENS.c.user_id == user.id))
    return await issue_token(tx, user.id)


async def ensure_local(tx: Transaction, *, token: str | None = None) -> str:
    """Make sure that there is the user `local`, an admin, and give it a new token in place of those it had."""
    user = await by_name(tx, LOCAL) or await create(tx, LOCAL, is_admin=True)
    await tx.run(delete(TOKENS).where(TOKENS.c.user_id == user.id))
    return await issue_token(tx, user.id, token=token)


async def set_disabled(tx: Transaction, name: str, *, disabled: bool) -> None:
    """Refuse a user's tokens from now on, or take them again.

    Raises:
        InvalidInput: There is no such user.
    """
    if await tx.run(update(USERS).where(USERS.c.name == name).values(disabled=disabled)) == 0:
        raise _unknown(name)


def _unknown(name: str) -> InvalidInput:
    return InvalidInput(f"there is no user {name!r}; `finetuner server user list` shows all")
