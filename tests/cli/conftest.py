"""A service of its own for the tests of the command line, and the command line as a real process."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from finetuner.aio.client import AsyncClient
from finetuner.aio.run import AsyncRun
from finetuner.cli import main
from finetuner.errors import RunFailed
from finetuner.local import find_server
from tests.docs.blocks import ROOT

DEADLINE_S = 60
"""Ends a test that hangs; nothing takes so long."""


@attrs.frozen(kw_only=True)
class Shell:
    """Runs the command line as a user's shell does."""

    env: dict[str, str]
    cwd: Path
    state: Path
    program: tuple[str, ...] = (sys.executable, "-m", "finetuner.cli")

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command in a process group of its own, so that a Ctrl-C reaches it alone."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **options}
        return subprocess.Popen(
            [*self.program, *arguments],
            cwd=self.cwd,
            env=self.env,
            text=True,
            encoding="utf-8",
            start_new_session=True,
            **options,
        )

    def __call__(self, *arguments: str, deadline_s: float = DEADLINE_S) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=deadline_s)
        return subprocess.CompletedProcess(arguments, process.returncode, out or "", err or "")

    def inside(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command in this process, where many are tried: most of a process's time is its imports."""
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="", write_through=True) for _ in range(2))
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            patch.chdir(self.cwd)
            for name in ("FINETUNER_HOST", "FINETUNER_TOKEN", "FINETUNER_JOB_ARGV"):
                patch.delenv(name, raising=False)
            for name, value in self.env.items():
                if name.startswith(("FINETUNER_", "HF_")):
                    patch.setenv(name, value)
            code = main.run(arguments)
        told = [stream.buffer.getvalue().decode() for stream in (out, err)]
        return subprocess.CompletedProcess(arguments, code, *told)

    def on_terminal(self, *arguments: str, columns: int = 80) -> tuple[int, str]:
        """Run a command on a terminal; give its exit code and what the terminal showed."""
        with self.terminal(*arguments, columns=columns) as (process, keyboard):
            shown = b"".join(_chunks(keyboard)).decode()
            process.wait(DEADLINE_S)
        return process.returncode, shown

    @contextlib.contextmanager
    def terminal(
        self, *arguments: str, columns: int = 80, term: str = "xterm-256color", **options: Any
    ) -> Iterator[tuple[subprocess.Popen[str], int]]:
        """Start a command on a terminal; give it with the descriptor that types and reads what is shown."""
        ours, theirs = pty.openpty()
        env = {**self.env, "COLUMNS": str(columns), "TERM": term}
        options = {"stdin": theirs, "stdout": theirs, "stderr": theirs, **options}
        process = attrs.evolve(self, env=env).start(*arguments, **options)
        os.close(theirs)
        try:
            yield process, ours
        finally:
            process.kill()
            process.wait(DEADLINE_S)
            os.close(ours)

    def client(self) -> AsyncClient:
        """Give a client for the service, which was started by a command."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("FINETUNER_STATE_DIR", "FINETUNER_CONFIG_DIR", "FINETUNER_CACHE_DIR"):
                patch.setenv(name, self.env[name])
            server = find_server()
        assert server is not None
        return AsyncClient(host=server.url, token=server.token)

    def stop_server(self) -> None:
        """Stop the service that a command has started."""
        stop = "from finetuner.local import stop_server; stop_server()"
        subprocess.run([sys.executable, "-c", stop], env=self.env, cwd=self.cwd, check=True, timeout=DEADLINE_S)

    async def submit(self, client: AsyncClient, name: str, **options: Any) -> AsyncRun:
        """Submit a run whose name says what its job does."""
        pairs = [("a sentence", "a name"), ("another one", "another name")]
        run: AsyncRun = await client.fit(model="all-minilm-l6-v2", train_data=pairs, run_name=name, **options)
        return run

    def release(self, run: AsyncRun) -> None:
        """Let a waiting job end."""
        (self.state / "v1/runs" / run.id / "go").touch()


async def settled(run: AsyncRun) -> None:
    """Wait until a run has ended, however it did."""
    with contextlib.suppress(RunFailed):
        await run.wait(timeout_s=DEADLINE_S)


def read_until(descriptor: int, text: str) -> str:
    """Read what a terminal shows until that text has come."""
    shown = b""
    for chunk in _chunks(descriptor):
        shown += chunk
        if text.encode() in shown:
            return shown.decode()
    raise AssertionError(f"{text!r} did not come: {shown.decode()}")


def _chunks(descriptor: int) -> Iterator[bytes]:
    while True:
        try:
            chunk = os.read(descriptor, 65_536)
        except OSError:  # Linux says so when the last process has closed its end
            return
        if not chunk:
            return
        yield chunk


@pytest.fixture(scope="session")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell whose commands find a service of their own, with jobs that need no torch."""
    home = tmp_path_factory.mktemp("cli")
    made = Shell(env=environment(home, job=Path(__file__).parent / "job.py"), cwd=home, state=home / "state")
    started = made("runs", "list")
    assert started.returncode == 0, started.stderr
    yield made
    made.stop_server()


def environment(home: Path, job: Path | None = None) -> dict[str, str]:
    """Give an environment in which nothing outside of `home` is written."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FINETUNER_", "COLUMNS"))}
    folders = {f"FINETUNER_{name.upper()}_DIR": str(home / name) for name in ("state", "config", "cache")}
    own_job = {"FINETUNER_JOB_ARGV": json.dumps([sys.executable, str(job), "{run_dir}"])} if job else {}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**kept, **folders, **own_job, "PYTHONPATH": path}
