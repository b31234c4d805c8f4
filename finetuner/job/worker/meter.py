"""How far a phase with many texts or pairs is: progress events, and a line in the log now and then."""

from __future__ import annotations

import time
from typing import Final

from finetuner.api.types import Phase
from finetuner.job.worker.report import Report

_LOG_PAUSE_S: Final = 15.0


class Meter:
    """Counts what is done of a phase.

    Args:
        report: Where it is told.
        phase: Which one.
        total: All that there is to do.
        what: What is counted, for the log: `texts` or `pairs`.
    """

    def __init__(self, report: Report, phase: Phase, total: int, what: str) -> None:
        self._report = report
        self._phase: Phase = phase
        self._total = total
        self._what = what
        self._done = 0
        self._started_at = self._logged_at = time.monotonic()
        self._tell()

    def add(self, count: int) -> None:
        """Tell that so many more are done."""
        self._done += count
        self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        elapsed_s = max(now - self._started_at, 1e-9)
        left_s = elapsed_s / self._done * (self._total - self._done) if self._done else None
        a_second = self._done / elapsed_s if self._done else None
        self._report.progress(
            phase=self._phase,
            step=self._done,
            steps=self._total,
            examples_per_s=None if a_second is None else round(a_second, 2),
            left_s=None if left_s is None else round(left_s, 2),
            is_kept=self._done == self._total,
        )
        if a_second is not None and left_s is not None and now - self._logged_at > _LOG_PAUSE_S:
            self._logged_at = now
            self._report.say(
                f"{self._phase}: {self._done}/{self._total} {self._what} · {a_second:.1f} {self._what}/s · "
                f"{left_s:.0f} s left"
            )
