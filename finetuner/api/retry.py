"""Whether to send a request again, and when: a pure decision, which the transport carries out.

==========================================  ======================================================
outcome                                     decision
==========================================  ======================================================
2xx, 3xx                                    `Done`
404 to a DELETE that was sent before        `Done`: the first one did it
408 429 500 502 503 504, or no answer       `Retry`, if the request may be repeated and time is left
anything else                               `GiveUp(FINAL)`: it would be the same again
==========================================  ======================================================

GET, HEAD, PUT, PATCH (always at an offset here) and DELETE may be repeated; a POST when it is `keyed`: with an
idempotency key, or such that twice is as once.

The wait doubles from `FIRST_WAIT_S` to `LONGEST_WAIT_S`, and the executor draws a random part of it (`jitter`). Where
the server said `Retry-After`, the wait is that, with no jitter, since jitter would shorten it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final

import attrs

FIRST_WAIT_S: Final = 0.25
LONGEST_WAIT_S: Final = 8.0
RETRIED_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})
REPEATABLE_METHODS: Final = frozenset({"GET", "HEAD", "PUT", "PATCH", "DELETE"})
_SECONDS: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?", re.ASCII)


class NoAnswer(StrEnum):
    """What happened where there is no status: the answer did not come, or not whole."""

    CONNECTION = "connection"
    TIMEOUT = "timeout"


class Reason(StrEnum):
    """Why a request is not sent again."""

    FINAL = "final"
    """The answer would be the same."""
    NOT_REPEATABLE = "not repeatable"
    """It may have been done, and doing it twice is not as once."""
    OUT_OF_TIME = "out of time"
    """The next try would begin after the time that the call may take."""
    RATE_LIMITED = "rate limited"
    """The same, and the server had said 429; `retry_after_s` says when to come back."""


@attrs.frozen
class Done:
    """The request did what it was for."""


@attrs.frozen
class Retry:
    """Send the request again."""

    after_s: float
    """Seconds to wait before; with `jitter` the most of them."""
    jitter: bool
    """Whether to wait a random part of `after_s`; if not, wait exactly that."""


@attrs.frozen
class GiveUp:
    """Raise what the outcome says."""

    reason: Reason
    retry_after_s: float | None = None
    """Seconds to wait before trying again later, where a retry was called for."""


Decision = Done | Retry | GiveUp


def decide(
    method: str,
    attempt: int,
    outcome: int | NoAnswer,
    *,
    retry_after: float | None,
    elapsed_s: float,
    budget_s: float,
    keyed: bool = False,
) -> Decision:
    """Decide what follows from the outcome of a try.

    Args:
        method: HTTP method, in capitals.
        attempt: Which try this was, counted from 1.
        outcome: HTTP status of the answer, or why there is none.
        retry_after: Seconds the server said to wait (see `parse_retry_after`), or None.
        elapsed_s: Seconds since the first try began.
        budget_s: Seconds that the call may take, waits included; no try begins later.
        keyed: Whether this POST may be repeated.

    Example:
        >>> decide("GET", 3, 503, retry_after=None, elapsed_s=1.5, budget_s=60)
        Retry(after_s=1.0, jitter=True)
    """
    if isinstance(outcome, int) and outcome not in RETRIED_STATUSES:
        is_deleted = outcome == 404 and method == "DELETE" and attempt > 1
        return Done() if outcome < 400 or is_deleted else GiveUp(Reason.FINAL)
    if method not in REPEATABLE_METHODS and not (method == "POST" and keyed):
        return GiveUp(Reason.NOT_REPEATABLE, retry_after)
    wait_s = min(FIRST_WAIT_S * 2 ** min(attempt - 1, 16), LONGEST_WAIT_S) if retry_after is None else retry_after
    if elapsed_s + wait_s > budget_s:
        return GiveUp(Reason.RATE_LIMITED if outcome == 429 else Reason.OUT_OF_TIME, wait_s)
    return Retry(wait_s, jitter=retry_after is None)


def parse_retry_after(text: str | None, now: datetime) -> float | None:
    """Read a Retry-After header (RFC 9110, section 10.2.3): a number of seconds, or a date.

    Args:
        text: The header's value, or None where there was none.
        now: The time, aware.

    Returns:
        Seconds to wait, 0 or more; None where nothing usable was said.
    """
    if text is None:
        return None
    text = text.strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - now).total_seconds())
