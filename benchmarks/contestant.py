"""A contestant: a process that does its work each time that it is told to."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).with_name("contestants")
DEADLINE_S: Final = 600.0
"""Ends a contestant that hangs."""


class Contestant:
    """A script of `benchmarks/contestants` that runs; made by `contestant`."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name = name
        self.ready: dict[str, Any] = {}
        """What it told when it was ready."""
        self._process = process

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def go(self) -> dict[str, Any]:
        """Let it do its work once, and give what it told."""
        self.start()
        return self.told()

    def start(self) -> None:
        """Let it begin its work."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended: `told` says how
            self._process.stdin.write("go\n")
            self._process.stdin.flush()

    def told(self) -> dict[str, Any]:
        """Wait for the next line that it tells.

        Raises:
            RuntimeError: It ended instead, or told nothing in time.
        """
        assert self._process.stdout is not None
        timer = threading.Timer(DEADLINE_S, self._process.kill)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            raise RuntimeError(f"contestant {self.name} ended with {self._process.wait(10)}; it says above why")
        said: dict[str, Any] = json.loads(line)
        return said


@contextlib.contextmanager
def contestant(
    script: str,
    *arguments: object,
    python: str | Path = sys.executable,
    profiles: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Contestant]:
    """Start a contestant, wait until it is ready, and end it.

    Args:
        script: Its file's name, without the ending.
        arguments: Of its command line.
        python: The interpreter; a peer's is that of its environment.
        profiles: A folder where it leaves a profile of its work; None profiles nothing.
        environ: Set in its environment.
    """
    env = {**os.environ, "PYTHONUNBUFFERED": "1", **(environ or {})}
    if profiles is not None:
        env["BENCHMARK_PROFILE"] = str(
            profiles / f"{script}-{'-'.join(map(str, arguments))[-20:]}.prof".replace("/", "_")
        )
    argv = [str(python), str(FOLDER / f"{script}.py"), *map(str, arguments)]
    # In no folder of this project: a peer of the same name would be found there instead.
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, cwd="/")
    try:
        made = Contestant(script, process)
        made.ready = made.told()
        yield made
    finally:
        with contextlib.suppress(OSError):
            process.communicate(timeout=20)
        if process.poll() is None:
            process.kill()
            process.wait()
