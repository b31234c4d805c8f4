"""Which error ends with which exit code."""

from __future__ import annotations

import pytest

from finetuner import errors
from finetuner.cli.exits import ExitCode, exit_code, innermost

FAILED = errors.RunFailed("it failed", run_name="r", failure=errors.Failure(type="ValueError", message="no"))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.RunNotFound("none"), ExitCode.ERROR),
        (errors.ServerUnavailable("down"), ExitCode.ERROR),
        (errors.InvalidName("bad"), ExitCode.USAGE),
        (FAILED, ExitCode.RUN_FAILED),
        (errors.WaitTimeout("late"), ExitCode.TIMEOUT),
    ],
)
def test_codes(error: errors.FinetunerError, code: ExitCode) -> None:
    assert exit_code(error) is code


def test_a_lone_error_is_taken_out_of_its_groups() -> None:
    error = errors.WaitTimeout("late")
    assert innermost(ExceptionGroup("outer", [ExceptionGroup("inner", [error])])) is error


def test_several_errors_stay_together() -> None:
    group = ExceptionGroup("both", [errors.WaitTimeout("late"), errors.RunNotFound("none")])
    assert innermost(group) is group
