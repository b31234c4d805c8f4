"""How a run ended, in the words of its row."""

from __future__ import annotations

import signal
from typing import Final

import attrs

from finetuner.api.types import RunStatus
from finetuner.errors import Failure
from finetuner.server.executors.rundir import Exit

STOPPING: Final = "stopping: "
"""What stands before the reason in the details of a run that was asked to end."""
_LONGEST: Final = 500


@attrs.frozen(kw_only=True)
class Ending:
    """The last status of a run, and why."""

    status: RunStatus
    details: str
    failure: Failure | None = None


def ending(end: Exit, details: str = "") -> Ending:
    """Say how a run ended.

    Args:
        end: What its supervisor wrote.
        details: The run's details until now: who asked it to stop, where somebody did.
    """
    if end.outcome == "finished":
        # What the disk refused of its record is no failure of the run, and not to be passed over either.
        return Ending(status=RunStatus.FINISHED, details="" if end.failure is None else _line(end.failure.message))
    if end.outcome == "cancelled":
        said = details.removeprefix(STOPPING) if details.startswith(STOPPING) else "cancelled"
        failure = end.failure or _failure(end, "Cancelled", said)
        return _failed(said, attrs.evolve(failure, type="Cancelled", message=said))
    if end.outcome == "lost":
        failure = end.failure or _failure(end, "Lost", "the process that looked after the run was killed")
        return _failed(f"lost: {failure.message}", failure)
    failure = end.failure or _failure(end, *_how(end))
    is_named = failure.type not in {"ExitCode", "Killed"}
    return _failed(f"{failure.type}: {failure.message}" if is_named else failure.message, failure)


def _how(end: Exit) -> tuple[str, str]:
    if end.signal is None:
        return "ExitCode", f"the job ended with exit code {end.exit_code}"
    try:
        name = signal.Signals(end.signal).name
    except ValueError:
        name = str(end.signal)
    return "Killed", f"the job was killed by signal {name}"


def _failure(end: Exit, type_: str, message: str) -> Failure:
    return Failure(
        type=type_, message=message, exit_code=end.exit_code, signal=end.signal, last_lines=tuple(end.last_lines)
    )


def _failed(text: str, failure: Failure) -> Ending:
    return Ending(status=RunStatus.FAILED, details=_line(text), failure=failure)


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."
