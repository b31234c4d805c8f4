"""Who is logged in to the console: sessions, and the tickets that open one without a token being typed.

Both live in memory alone, so that a restart of the server ends them, and each belongs to one token: a token that is
replaced, or whose user is disabled, takes its sessions with it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import attrs
from aiohttp import web

IDLE_S: Final = 12 * 3600.0
"""A session that nobody used for so long has ended."""
TICKET_S: Final = 60.0
"""How long a ticket waits for the browser."""
_MOST: Final = 10_000


@attrs.frozen(kw_only=True)
class Session:
    """One browser that is logged in."""

    token_sha256: str
    """Of the token that opened it."""
    form_key: str = attrs.field(repr=False)
    """Stands in every form of this session's pages; a form from elsewhere cannot have it."""
    used_s: float
    """When it was last used, on the monotonic clock."""


@attrs.frozen(kw_only=True)
class Ticket:
    """A promise of one session."""

    token_sha256: str
    until_s: float


class Sessions:
    """The sessions and tickets of one server.

    Args:
        clock: Gives seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._tickets: OrderedDict[str, Ticket] = OrderedDict()

    def open(self, token_sha256: str) -> str:
        """Open a session for the owner of a token, and give the secret that its cookie carries."""
        secret = secrets.token_urlsafe(32)
        made = Session(token_sha256=token_sha256, form_key=secrets.token_urlsafe(32), used_s=self._clock())
        self._sessions[_key(secret)] = made
        if len(self._sessions) > _MOST:
            self._sessions.popitem(last=False)
        return secret

    def get(self, secret: str) -> Session | None:
        """Give the session of a secret, which is in use again; None where there is none any more."""
        key = _key(secret)
        found = self._sessions.pop(key, None)
        now_s = self._clock()
        if found is None or now_s - found.used_s > IDLE_S:
            return None
        self._sessions[key] = attrs.evolve(found, used_s=now_s)
        return found

    def close(self, secret: str) -> None:
        """End a session."""
        self._sessions.pop(_key(secret), None)

    def issue(self, token_sha256: str) -> str:
        """Give a ticket that opens one session for the owner of a token, within a minute."""
        ticket = secrets.token_urlsafe(32)
        self._tickets[_key(ticket)] = Ticket(token_sha256=token_sha256, until_s=self._clock() + TICKET_S)
        if len(self._tickets) > _MOST:
            self._tickets.popitem(last=False)
        return ticket

    def redeem(self, ticket: str) -> str | None:
        """Give the sha256 of the token that a ticket stands for; None where it was used, is too old, or is none."""
        found = self._tickets.pop(_key(ticket), None)
        return None if found is None or self._clock() > found.until_s else found.token_sha256


def is_own_form(session: Session, form_key: str) -> bool:
    """Whether a form was made for this session."""
    return hmac.compare_digest(session.form_key.encode(), form_key.encode("utf-8", "surrogateescape"))


def _key(secret: str) -> str:
    # What is looked up is a hash: how long a look-up takes tells nothing about a secret.
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


SESSIONS: Final = web.AppKey("sessions", Sessions)
SESSION: Final = web.RequestKey("session", Session)
