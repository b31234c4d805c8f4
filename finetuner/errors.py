"""Every exception of Finetuner.

The tree::

    FinetunerError
    ├── InvalidInput (ValueError)           an argument was refused before anything was created
    │   ├── InvalidName                     a name that no run, experiment or data set can have
    │   ├── InvalidData                     a data file, with the line where it went wrong
    │   └── ModelNotSupported               a model of the old table that cannot be trained
    ├── NotFound (LookupError)
    │   ├── RunNotFound
    │   ├── ExperimentNotFound
    │   ├── ArtifactNotFound
    │   └── DataNotFound
    ├── Conflict                            the name is taken, or the key was used for another request
    ├── RunInProgress                       the run has not ended yet
    ├── RunFailed                           the run ended as FAILED; `.failure` says why
    ├── RunDeleted                          the run was deleted
    ├── WaitTimeout (TimeoutError)          the wait ended, the run goes on
    ├── NotLoaded                           the run was listed without its config; `refresh()` gets it
    ├── LogTooLarge                         ask for its tail, or stream it
    ├── LogTruncated                        the log is shorter than the position asked for
    ├── ArtifactExists (FileExistsError)    another file stands at that path
    ├── ArtifactCorrupt                     what arrived is not what was stored
    ├── MissingExtra (ImportError)          an optional part is not installed
    ├── NotLoggedIn (PermissionError)
    ├── NotAllowed (PermissionError)
    └── ServerError
        ├── ServerUnavailable (ConnectionError)
        ├── ServerStartFailed               the embedded server did not start; `.log` shows its last lines
        ├── ServerTooOld                    it lacks a field or a route that the call needs
        ├── RateLimited                     `.retry_after_s` says when to come back
        ├── StorageFull                     the disk of the server, or of the caller, is full
        ├── StateCorrupt                    the state folder cannot be read
        └── BadResponse                     an answer that the protocol does not know
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class Failure:
    """Why a run ended as FAILED, as data."""

    type: str
    """Class name of the exception in the job, or `Cancelled`, `Lost`, `Killed`, `ExitCode`."""
    message: str
    hint: str | None = None
    """What to do about it, where that is known."""
    exit_code: int | None = None
    signal: int | None = None
    """Number of the signal that ended the job."""
    last_lines: tuple[str, ...] = ()
    """At most the last 20 lines of the log."""
    traceback: str | None = None


@attrs.frozen(kw_only=True)
class FieldError:
    """One refused field of a request."""

    path: str
    """Where it stands in the request, such as `$.config.hyper_parameters.epochs`."""
    message: str


class FinetunerError(Exception):
    """The root of every error that Finetuner raises; each can be pickled, for it may cross processes."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _remade, (type(self), self.args, self.__dict__)


def _remade(kind: type[FinetunerError], args: tuple[Any, ...], values: dict[str, Any]) -> FinetunerError:
    """Make an error as it was: what it holds is not made again of what it was given."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(values)
    return error


class InvalidInput(FinetunerError, ValueError):
    """An argument was refused; nothing was created."""

    def __init__(self, message: str, *, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(message)
        self.errors: tuple[FieldError, ...] = tuple(errors)


class InvalidName(InvalidInput):
    """A name that no run, experiment or data set can have."""


class InvalidData(InvalidInput):
    """A data file or list cannot be used.

    Attributes:
        path: The file, or None for values in memory.
        line: Number of the first bad line, counted from 1, where there is one.
    """

    def __init__(self, message: str, *, path: Path | str | None = None, line: int | None = None) -> None:
        where = "" if path is None else f"{path}: " if line is None else f"{path}, line {line}: "
        super().__init__(f"{where}{message}")
        self.path: Path | None = None if path is None else Path(path)
        self.line = line


class ModelNotSupported(InvalidInput):
    """A model of the old table that cannot be trained here."""


class NotFound(FinetunerError, LookupError):
    """What was asked for does not exist, or belongs to somebody else."""


class RunNotFound(NotFound):
    """No such run."""


class ExperimentNotFound(NotFound):
    """No such experiment."""


class ArtifactNotFound(NotFound):
    """No such artifact."""


class DataNotFound(NotFound):
    """No such data set."""


class Conflict(FinetunerError):
    """The name is taken, or the idempotency key was used for another request."""


class RunInProgress(FinetunerError):
    """The run has not ended yet."""


class RunFailed(FinetunerError):
    """The run ended as FAILED.

    Attributes:
        run_name: The run.
        failure: Why it failed, as data.
    """

    def __init__(self, message: str, *, run_name: str, failure: Failure) -> None:
        super().__init__(message)
        self.run_name = run_name
        self.failure = failure


class RunDeleted(FinetunerError):
    """The run was deleted, before it was waited for or meanwhile."""


class WaitTimeout(FinetunerError, TimeoutError):
    """The wait ended before the run did; the run goes on."""


class NotLoaded(FinetunerError):
    """The run was listed with `with_config=False`, and its config was asked for."""


class LogTooLarge(FinetunerError):
    """The log is larger than `max_bytes`; ask for its `tail=`, or stream it."""


class LogTruncated(FinetunerError):
    """The log is shorter than the position asked for."""


class ArtifactExists(FinetunerError, FileExistsError):
    """Another file stands where the artifact would go; `overwrite=True` replaces it."""


class ArtifactCorrupt(FinetunerError):
    """What arrived is not what was stored."""


class MissingExtra(FinetunerError, ImportError):
    """An optional part is not installed; the message names the command that installs it."""


class NotLoggedIn(FinetunerError, PermissionError):
    """The server wants a token, and there is none, or it was refused.

    Attributes:
        reason: Which of the two, without what to do about it.
        host: The server's URL, where it is known.
    """

    def __init__(self, message: str, *, reason: str | None = None, host: str | None = None) -> None:
        super().__init__(message)
        self.reason: str = message if reason is None else reason
        self.host = host


class NotAllowed(FinetunerError, PermissionError):
    """The token is good, but this call is not for its owner."""


class ServerError(FinetunerError):
    """The server did not do what was asked.

    Attributes:
        status: HTTP status of the answer, where there was one.
        request_id: The id under which the server logged the request.
        idempotency_key: The key of the interrupted create; pass it again to get that run, never a second.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.request_id = request_id
        self.idempotency_key = idempotency_key


class ServerUnavailable(ServerError, ConnectionError):
    """The server could not be reached, or kept failing, for as long as the call may take."""


class ServerStartFailed(ServerError):
    """The embedded server did not start.

    Attributes:
        log: Last lines of its log.
    """

    def __init__(self, message: str, *, log: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.log: tuple[str, ...] = tuple(log)


class ServerTooOld(ServerError):
    """The server lacks a field or a route that the call needs."""


class RateLimited(ServerError):
    """Too many requests.

    Attributes:
        retry_after_s: Seconds to wait before the next call.
    """

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message, status=429)
        self.retry_after_s = retry_after_s


class StorageFull(ServerError):
    """A disk is full; nothing half-written is left."""


class StateCorrupt(ServerError):
    """The state folder cannot be read; it is left as it is."""


class BadResponse(ServerError):
    """An answer that the protocol does not know."""
