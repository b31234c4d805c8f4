from __future__ import annotations

from itertools import product

import pytest

from finetuner.api import lifecycle
from finetuner.api.types import RunStatus

ALLOWED = {
    (RunStatus.CREATED, RunStatus.STARTED),
    (RunStatus.CREATED, RunStatus.FAILED),
    (RunStatus.STARTED, RunStatus.FINISHED),
    (RunStatus.STARTED, RunStatus.FAILED),
}


@pytest.mark.parametrize(("before", "after"), list(product(RunStatus, RunStatus)))
def test_only_the_four_changes_of_the_design_are_allowed(before: RunStatus, after: RunStatus) -> None:
    assert lifecycle.may(before, after) == ((before, after) in ALLOWED)
    assert (before in lifecycle.sources(after)) == ((before, after) in ALLOWED)


@pytest.mark.parametrize("status", list(RunStatus))
def test_what_has_ended_never_changes(status: RunStatus) -> None:
    assert lifecycle.is_terminal(status) == (status in {RunStatus.FINISHED, RunStatus.FAILED})
    assert lifecycle.is_terminal(status) == status.is_terminal


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        lifecycle.TRANSITIONS[RunStatus.FAILED] = frozenset()  # type: ignore[index]
