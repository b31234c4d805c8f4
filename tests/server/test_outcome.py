"""How a run ended, in the words of its row."""

from __future__ import annotations

from datetime import UTC, datetime

import attrs
import pytest

from finetuner.api.types import RunStatus
from finetuner.errors import Failure
from finetuner.server.executors.rundir import Exit
from finetuner.server.outcome import Ending, ending

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FINISHED = Exit(
    outcome="finished",
    exit_code=0,
    signal=None,
    failure=None,
    last_lines=(),
    log_bytes=0,
    events_bytes=0,
    artifact_bytes=None,
    started_at=NOW,
    ended_at=NOW,
)


def test_a_finished_run_has_nothing_to_say() -> None:
    assert ending(FINISHED) == Ending(status=RunStatus.FINISHED, details="")


@pytest.mark.parametrize("repeats", [1, 100])
def test_a_finished_run_says_what_the_disk_refused_of_its_record(repeats: int) -> None:
    message = "the disk refused 4096 bytes of its log or events\n" * repeats
    said = ending(attrs.evolve(FINISHED, failure=Failure(type="StorageFull", message=message)))
    assert said.status is RunStatus.FINISHED
    assert said.failure is None
    assert said.details.startswith("the disk refused 4096 bytes of its log or events")
    assert len(said.details) <= 500
