"""What the command line's exit codes mean, and which error ends with which."""

from __future__ import annotations

from enum import IntEnum

from finetuner import errors


class ExitCode(IntEnum):
    """How the program ended; `docs/cli.md` explains each to users."""

    OK = 0
    ERROR = 1
    USAGE = 2
    RUN_FAILED = 3
    TIMEOUT = 4
    INTERRUPTED = 130
    """Ctrl-C, as shells count it: 128 and the signal's number."""
    PIPE_CLOSED = 141
    """The reader of the output went away, as `head` does; counted likewise."""


def exit_code(error: errors.FinetunerError) -> ExitCode:
    """Give the exit code of an error that ends a command."""
    if isinstance(error, errors.RunFailed):
        return ExitCode.RUN_FAILED
    if isinstance(error, errors.WaitTimeout):
        return ExitCode.TIMEOUT
    if isinstance(error, errors.InvalidInput):
        return ExitCode.USAGE
    return ExitCode.ERROR


def innermost(error: BaseException) -> BaseException:
    """Give the error itself where task groups have wrapped it, alone, in groups."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
