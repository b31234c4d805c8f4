"""The states of a run and the changes between them, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from finetuner.api.types import RunStatus

TRANSITIONS: Final[Mapping[RunStatus, frozenset[RunStatus]]] = MappingProxyType(
    {
        RunStatus.CREATED: frozenset({RunStatus.STARTED, RunStatus.FAILED}),
        RunStatus.STARTED: frozenset({RunStatus.FINISHED, RunStatus.FAILED}),
        RunStatus.FINISHED: frozenset(),
        RunStatus.FAILED: frozenset(),
    }
)
"""For each state, the states that may follow it. CREATED to FAILED: cancelled, or could not start."""


def may(before: RunStatus, after: RunStatus) -> bool:
    """Whether a run may go from one state to another; staying is no change."""
    return after in TRANSITIONS[before]


def sources(after: RunStatus) -> frozenset[RunStatus]:
    """Give the states that may lead to one: what an `UPDATE ... WHERE status IN (...)` guards with."""
    return frozenset(before for before, next_ones in TRANSITIONS.items() if after in next_ones)


def is_terminal(status: RunStatus) -> bool:
    """Whether a run in this state has ended and never changes again."""
    return not TRANSITIONS[status]
