"""Run directories for tests, with small jobs of the standard library in them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from finetuner.errors import Conflict
from finetuner.server.executors import rundir

Found = TypeVar("Found")

JOBS = Path(__file__).parent / "job" / "jobs"
PYTHON = (sys.executable, "-I", "-S")
PATIENCE_S = 60.0
"""How long anything may take on a busy machine before a test gives up; nothing waits that long when all is well."""


def make(run_dir: Path, code: str | None = None, /, **fields: Any) -> Path:
    """Make a run directory whose command is a piece of Python, unless `argv` is given."""
    if code is not None:
        fields["argv"] = [*PYTHON, "-c", code]
    defaults: dict[str, Any] = {"run_id": run_dir.name, "drain_s": 5.0, "grace_s": 30.0}
    rundir.create(run_dir, rundir.Job(**(defaults | fields)), {"schema": 1})
    return run_dir


def until(look: Callable[[], Found | None], what: str) -> Found:
    """Look until something is there."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := look()):
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.005)
    return found


def end(run_dir: Path) -> rundir.Exit:
    """Wait for the end of a started run."""
    return until(lambda: rundir.observe(run_dir).exit, f"the end of {run_dir}")


def run(run_dir: Path, env: dict[str, str] | None = None) -> rundir.Exit:
    """Start a run and wait for its end."""
    rundir.start(run_dir, {**os.environ, **(env or {})})
    return end(run_dir)


def processes(*words: str, among: list[int] | None = None) -> Iterator[int]:
    """Give the pids of the processes that have all these words in their command line."""
    for pid in among or pids():
        command = read(Path(f"/proc/{pid}/cmdline")).split(b"\0")
        if all(word.encode() in command for word in words):
            yield pid


def marked(cookie: str) -> list[int]:
    """Give the pids of the processes that carry a run's cookie."""
    mark = f"FINETUNER_COOKIE={cookie}".encode()
    return [pid for pid in pids() if mark in read(Path(f"/proc/{pid}/environ")).split(b"\0")]


def pids() -> list[int]:
    """Give the pid of every process, Linux only."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208  names are enough


def read(path: Path) -> bytes:
    """Read a file that may go away."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def kill(pid: int, *words: str) -> bool:
    """Kill a process if it still is the one with these words in its command line; the descriptor pins it."""
    try:
        pinned = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if pid not in processes(*words, among=[pid]):
            return False
        signal.pidfd_send_signal(pinned, signal.SIGKILL)
    except ProcessLookupError:
        return False
    finally:
        os.close(pinned)
    return True


def watch(run_dir: Path, seen: Path) -> None:
    """Do as a server does: look, start what nothing ever started, look until the end; note the end that was seen."""
    while (look := rundir.observe(run_dir)).exit is None:
        if look.state == "not_started":
            with contextlib.suppress(Conflict):
                rundir.start(run_dir, os.environ)
        time.sleep(0.002)
    with seen.open("a") as file:
        file.write(hashlib.sha256((run_dir / "exit.json").read_bytes()).hexdigest() + "\n")
