"""A server process for a team, which is stopped, killed and started again on one port."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import attrs

JOB = Path(__file__).parent / "aio" / "scripted_job.py"


@attrs.define
class TeamServer:
    """A server process for a team, on one port and one state folder for all its lives."""

    state_dir: Path
    port: int
    job: Path = JOB
    """What its runs do."""
    slots: int = 1
    files: str = ""
    """How `ulimit` is to limit its open files, such as `-Sn 256`; as this process where that is empty."""
    process: subprocess.Popen[bytes] | None = None
    kills: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        where = ["--state-dir", str(self.state_dir), "--port", str(self.port), "--slots", str(self.slots)]
        limited = ["sh", "-c", f'ulimit {self.files}; exec "$@"', "sh"] if self.files else []
        self.process = subprocess.Popen(
            [*limited, sys.executable, "-m", "finetuner.server", *where],
            env={**os.environ, "FINETUNER_JOB_ARGV": json.dumps([sys.executable, "-I", str(self.job), "{run_dir}"])},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(60)

    async def killed(self) -> None:
        """Kill it, and start the next one, which takes its time to answer."""
        self.stop(signal.SIGKILL)
        self.kills += 1
        self.start()

    async def restarted(self) -> None:
        """Stop it as its operator does, and start the next one."""
        await asyncio.to_thread(self.stop)
        self.start()

    async def answers(self) -> None:
        async with asyncio.timeout(60), aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.get(f"{self.url}/health") as answer:
                        assert answer.status == 200
                        return
                except aiohttp.ClientError:
                    await asyncio.sleep(0.02)


@contextlib.contextmanager
def team_server(folder: Path, *, job: Path = JOB, slots: int = 1, files: str = "") -> Iterator[TeamServer]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    server = TeamServer(folder / "state", port, job=job, slots=slots, files=files)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def make_user(server: TeamServer) -> str:
    """Make a user, and give the token."""
    command = [sys.executable, "-m", "finetuner.cli", "server", "user", "add", "ann", "--json"]
    made = subprocess.run(
        [*command, "--state-dir", str(server.state_dir)], capture_output=True, text=True, timeout=60, check=True
    )
    return str(json.loads(made.stdout)["token"])
