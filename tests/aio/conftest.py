"""A real embedded server with a job of the standard library, and clients of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import attrs
import psutil
import pytest

from finetuner import local
from finetuner.aio.client import AsyncClient
from finetuner.aio.run import AsyncRun
from finetuner.callback import Callback

JOB = Path(__file__).with_name("scripted_job.py")


class HasId(Protocol):
    """A run of either face."""

    @property
    def id(self) -> str: ...


@attrs.frozen(kw_only=True)
class Home:
    """The folders of one user, and the embedded server in them."""

    root: Path

    @property
    def state(self) -> Path:
        return self.root / "state"

    def run_dir(self, run: HasId) -> Path:
        return self.state / "v1" / "runs" / run.id

    def log_lines(self, run: HasId) -> list[str]:
        lines = (self.run_dir(run) / "log").read_bytes().decode("utf-8", "replace").split("\n")
        return lines[:-1] if lines[-1] == "" else lines

    def server_pid(self) -> int:
        """Give the process that this home's server is; found by its command line, which names the state folder."""
        marks = {"finetuner.server", str(self.state)}
        for process in psutil.process_iter(["cmdline"]):
            if marks <= set(process.info["cmdline"] or ()):
                return int(process.pid)
        raise AssertionError(f"no server runs on {self.state}")

    def kill_server(self) -> None:
        """Kill the server that runs, and wait until it is dead: its lock is free."""
        pid = self.server_pid()
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while local._is_held(self.state / "v1"):
            assert time.monotonic() < deadline
            time.sleep(0.005)


@contextlib.contextmanager
def home_at(root: Path, **more: str) -> Iterator[Home]:
    """Give folders of their own to this process and the server it starts; stop that server at the end."""
    changed = {f"FINETUNER_{name}_DIR": str(root / name.lower()) for name in ("STATE", "CONFIG", "CACHE")}
    changed |= {"FINETUNER_JOB_ARGV": json.dumps([sys.executable, "-I", str(JOB), "{run_dir}"]), **more}
    before = {name: os.environ.get(name) for name in (*changed, "FINETUNER_HOST", "FINETUNER_TOKEN")}
    for name in before:
        os.environ.pop(name, None)
    os.environ.update(changed)
    try:
        yield Home(root=root)
    finally:
        try:
            with contextlib.suppress(Exception):
                local.stop_server(timeout_s=20)
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with home_at(tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture
async def client(home: Home) -> AsyncIterator[AsyncClient]:
    async with AsyncClient() as made:
        await made.login()
        yield made


Submit = Callable[..., Any]


@pytest.fixture
def submit(client: AsyncClient) -> Submit:
    """Give what submits a scripted run; three lines are `lines=3`."""

    async def start(*, run_name: str | None = None, tags: list[str] | None = None, **wish: Any) -> AsyncRun:
        return await submit_to(client, run_name=run_name, tags=tags, **wish)

    return start


async def submit_to(
    client: AsyncClient,
    *,
    run_name: str | None = None,
    tags: list[str] | None = None,
    key: str | None = None,
    callbacks: Sequence[Callback] = (),
    **wish: Any,
) -> AsyncRun:
    return await client.fit(
        "all-minilm-l6-v2",
        [(json.dumps(wish), "x")],
        run_name=run_name,
        tags=tags,
        idempotency_key=key,
        callbacks=callbacks,
        loss="MultipleNegativesRankingLoss",
        progress=False,
    )


def python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run some code in another interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **env}, capture_output=True, text=True, timeout=60, check=True
    )
