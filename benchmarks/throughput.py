"""Requests per second of the server over SQLite: beside a bare aiohttp + sqlite3 server, and MLflow's."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import attrs
import psutil

from benchmarks import peers
from benchmarks.contestant import Contestant, contestant
from benchmarks.measure import Goal, Measured, Options, Table, over, told_in_turn
from benchmarks.service import our_server
from tests.server.serving import Service

THINGS = ("create", "get", "list")
MAX_MB = 120
START_S = 120.0


@attrs.frozen(kw_only=True)
class Target:
    """A server to load.

    Attributes:
        name: What it is.
        way: How `load.py` is to ask it.
        url: Where it listens.
        token: What it takes; empty where it asks for none.
        pid: Its process.
    """

    name: str
    way: str
    url: str
    token: str = ""
    pid: int

    def held_mb(self) -> float:
        """Give the megabytes that its process and those below it hold."""
        process = psutil.Process(self.pid)
        return float(sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))) / 1e6


def measure(options: Options) -> list[Table]:
    """Load each server in turn, over 32 connections, with configs of a kilobyte."""
    seconds = 0.3 if options.is_quick else 3.0
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="finetuner-throughput-")))
        targets = list(_targets(options, folder, stack))
        tables = []
        for thing in THINGS:
            loads = {
                target.name: stack.enter_context(
                    contestant(
                        "load", target.way, thing, target.url, seconds, environ={"FINETUNER_TOKEN": target.token}
                    )
                )
                for target in targets
            }
            refused = dict.fromkeys(loads, 0)
            works = {name: _loading(name, load, refused) for name, load in loads.items()}
            told = told_in_turn(works, options.repeat)
            if refused[targets[0].name] or refused[targets[1].name]:
                raise RuntimeError(f"answers that say that a server could not: {refused}")
            notes = [f"{name} answered {count} requests with an error" for name, count in refused.items() if count]
            tables.append(attrs.evolve(_table(thing, told), notes=notes))
        memory = [
            Measured(name=f"memory of {target.name}, after all", values=[target.held_mb()], unit="MB")
            for target in targets
        ]
    goals = [Goal(what="megabytes of ours", value=memory[1].median, limit=MAX_MB)]
    return [*tables, Table(title="Memory of these servers", rows=memory, goals=goals)]


def _loading(name: str, load: Contestant, refused: dict[str, int]) -> Callable[[], float]:
    def act() -> float:
        told = load.go()
        refused[name] += told["refused"]
        return float(told["per_s"])

    return act


def _table(thing: str, told: dict[str, list[float]]) -> Table:
    bare, ours, *others = (Measured(name=name, values=values, unit="/s") for name, values in told.items())
    goals = [Goal(what="ours over bare", value=over(ours, bare), limit=0.3, is_most=False)]
    goals += [
        Goal(what=f"ours over {other.name}", value=over(ours, other), limit=10, is_most=False) for other in others
    ]
    shown = {"create": "create a run", "get": "get a run", "list": "list 100 runs"}[thing]
    return Table(title=f"Requests per second, 32 connections: {shown}", rows=[bare, ours, *others], goals=goals)


def _targets(options: Options, folder: Path, stack: contextlib.ExitStack) -> Iterator[Target]:
    bare = stack.enter_context(contestant("bare_server", folder / "bare.db"))
    yield Target(name="bare aiohttp + sqlite3", way="bare", url=bare.ready["url"], pid=bare.pid)
    ours = stack.enter_context(our_server(folder / "ours", _pairs, profiles=options.profiles))
    yield Target(name="ours", way="ours", url=ours.url, token=ours.token, pid=ours.process.pid)
    if (python := peers.python_of(peers.MLFLOW, options.venvs)) is not None:
        url, pid = stack.enter_context(_mlflow_server(python, folder))
        yield Target(name="MLflow", way="mlflow", url=url, pid=pid)


async def _pairs(service: Service) -> None:
    await service.client.dataset("pairs")


@contextlib.contextmanager
def _mlflow_server(python: Path, folder: Path) -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    argv = [str(python.with_name("mlflow")), "server", "--host", "127.0.0.1", "--port", str(port)]
    argv += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder / "ml")]
    # One worker, and no process for jobs: on two cores this is when it is fastest, and smallest.
    argv += ["--workers", "1"]
    environ = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        # With its own 5 and 10 it answers 400 to 32 connections: those that wait give up after 30 s.
        "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "64",
        "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW": "64",
    }
    env = {**os.environ, **environ, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    with (folder / "mlflow.log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, env=env, cwd=folder, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(f"{url}/health", process, folder / "mlflow.log")
        yield url, process.pid
    finally:
        below = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.terminate()
        _, alive = psutil.wait_procs([psutil.Process(process.pid), *below], timeout=15) if below else ([], [])
        for one in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait(15)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(URLError, OSError), urlopen(url, timeout=5) as answer:
            answer.read()
            return
        time.sleep(0.2)
    raise RuntimeError(f"MLflow's server did not start:\n{log.read_text(encoding='utf-8')[-2000:]}")
