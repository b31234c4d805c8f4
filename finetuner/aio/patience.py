"""How long a transfer that is cut again and again is tried."""

from __future__ import annotations

import asyncio

import attrs

from finetuner.api.retry import Decision, NoAnswer, decide


def _now() -> float:
    return asyncio.get_running_loop().time()


@attrs.define(kw_only=True)
class Patience:
    """Decides what follows a cut: a transfer goes on while it gets further, and for a call's time where it does not."""

    method: str
    budget_s: float
    """Seconds without headway after which it is given up."""
    _failures: int = attrs.field(default=0, init=False)
    """Since it last got further."""
    _since_s: float = attrs.field(factory=_now, init=False)
    """When it last got further, or began, on the loop's clock."""

    @property
    def attempt_s(self) -> float:
        """How long one try may be silent, or an append take: half of it all, so that one that stalls is tried again."""
        return self.budget_s / 2

    def further(self) -> None:
        """Take note that it got further."""
        self._failures, self._since_s = 0, _now()

    def decide(self, outcome: int | NoAnswer, retry_after_s: float | None) -> Decision:
        """Decide whether to go on after a try that ended so.

        Args:
            outcome: HTTP status of the answer, or why there is none.
            retry_after_s: Seconds that the server said to wait.
        """
        self._failures += 1
        return decide(
            self.method,
            self._failures,
            outcome,
            retry_after=retry_after_s,
            elapsed_s=_now() - self._since_s,
            budget_s=self.budget_s,
        )
