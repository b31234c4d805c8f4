"""Sends again what `api.retry` says to send again. The only file that uses backoff."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import attrs
import backoff

from finetuner.api.retry import Decision, Retry
from finetuner.errors import FinetunerError

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Tried(Generic[T]):
    """How one try went: its value, or the error that is raised when it was the last."""

    decision: Decision
    value: T | None = None
    error: FinetunerError | None = None


def _is_retry(tried: Tried[T]) -> bool:
    return isinstance(tried.decision, Retry)


def _wait_s(tried: Tried[T]) -> float:
    assert isinstance(tried.decision, Retry)  # noqa: S101 - backoff asks only where the predicate holds
    return backoff.full_jitter(tried.decision.after_s) if tried.decision.jitter else tried.decision.after_s


@backoff.on_predicate(backoff.runtime, predicate=_is_retry, value=_wait_s, jitter=None, logger=None)
async def until_settled(attempt: Callable[[], Awaitable[Tried[T]]]) -> Tried[T]:
    """Try until the decision is not `Retry`, waiting as each decision says.

    Cancelled between two tries, it leaves nothing behind: what must be kept from try to try is `attempt`'s own.
    """
    return await attempt()
