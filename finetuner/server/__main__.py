"""`python -m finetuner.server`: runs a server in this process."""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs
import structlog

from finetuner.api.embedded import EXIT_STORAGE_FULL
from finetuner.errors import FinetunerError, InvalidInput, StorageFull
from finetuner.server import lifecycle
from finetuner.server.settings import (
    Settings,
    count_gpus,
    job_argv,
    models_dirs,
    stall_after_s,
    warm_for_s,
    warm_workers,
)

_CODES: Final[dict[type[FinetunerError], int]] = {
    InvalidInput: 2,
    lifecycle.PortTakenError: 2,
    StorageFull: EXIT_STORAGE_FULL,
}
_log = structlog.get_logger("finetuner.server")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a server until it is to stop, and give the exit code.

    0; 1 for an error; 2 for a setting that is refused, or an address that is taken; 3 for a full disk, which may have
    no room for the log either.
    """
    try:
        settings = read(arguments)
        lifecycle.set_up_log(settings)
    except FinetunerError as error:
        return _ended(error)
    try:
        lifecycle.run(attrs.evolve(settings, job_argv=job_argv()))
    except FinetunerError as error:
        _log.error("server could not start or go on", kind=type(error).__name__, error=str(error))
        return _ended(error)
    return 0


def _ended(error: FinetunerError) -> int:
    with contextlib.suppress(OSError):  # an embedded server's is on the same disk
        sys.stderr.write(f"Error: {error}\n")
    return _CODES.get(type(error), 1)


def _leave(code: int) -> None:
    """End the process with this code, whatever becomes of output that a full disk refuses."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


def read(arguments: Sequence[str] | None) -> Settings:
    """Make the settings of a command line and of the environment.

    Raises:
        InvalidInput: One of them is refused.
    """
    parser = argparse.ArgumentParser(prog="python -m finetuner.server", description="Run a Finetuner server.")
    parser.add_argument("--state-dir", type=Path, required=True, help="where it keeps its database, blobs and runs")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0: a free one")
    parser.add_argument("--slots", type=int, help="runs at the same time; one a GPU, else one, where not given")
    parser.add_argument("--models-dir", action="append", default=[], help="take models in this folder by their path")
    parser.add_argument("--stall-minutes", type=float, help="mark runs that are silent for so long; 0: never; 30")
    parser.add_argument("--warm-workers", type=int, help="workers that wait ready for the next run; 0: none; 1")
    parser.add_argument("--warm-minutes", type=float, help="how long each of them waits; 10")
    parser.add_argument("--embedded", action="store_true", help="for the clients of this machine's user alone")
    parser.add_argument("--idle-stop-s", type=float, default=900.0, help="embedded: stop after so long; 0: never")
    parser.add_argument("--ping-s", type=float, default=15.0, help="longest silence of a stream")
    given = parser.parse_args(arguments)
    if given.slots is not None and given.slots < 1:
        parser.error("--slots must be at least 1")
    allowed = models_dirs(given.models_dir)
    silence_s = stall_after_s(given.stall_minutes)
    warm, warm_s = warm_workers(given.warm_workers), warm_for_s(given.warm_minutes)
    gpus = count_gpus()
    return Settings(
        models_dirs=allowed,
        state_dir=given.state_dir,
        host=given.host,
        port=given.port,
        embedded=given.embedded,
        token=secrets.token_urlsafe(32) if given.embedded else None,
        instance=secrets.token_hex(8),
        slots=given.slots or gpus or 1,
        gpus=gpus,
        idle_stop_s=given.idle_stop_s,
        ping_s=given.ping_s,
        stall_s=silence_s,
        warm_workers=warm,
        warm_s=warm_s,
    )


if __name__ == "__main__":
    _leave(main())
