"""A supervisor that waits with its worker: given a run, it owns it; where one of them is gone, the run starts anew."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from finetuner.server.executors import rundir, standby
from finetuner.server.executors.standby import Model, Standby, Standbys
from tests.rundir_support import JOBS, PATIENCE_S, PYTHON, end, kill, make, marked, processes, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")

ENV = {**os.environ, "GIVEN": "with the worker"}
STANDING = str(JOBS / "standing.py")
MANY = 1024
"""What `select` can take no number of a file above."""
Start = Callable[..., Standby]


def model(manner: str = "well", **env: str) -> Model:
    return Model(argv=(*PYTHON, STANDING, manner), env={**ENV, **env})


def worker(one: Standby) -> int:
    """Wait until its worker waits for a run, and give that worker's process."""
    assert one._has_said("ready", PATIENCE_S)
    (pid,) = processes(STANDING, among=workers(one))
    return pid


def workers(one: Standby) -> list[int]:
    return [pid for pid in marked(one.cookie) if pid != one._process.pid]


def gone(one: Standby) -> None:
    until(lambda: not marked(one.cookie), "the end of every process of a standby")


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start standbys that end with the test, unless they have got a run: that ends by itself."""
    monkeypatch.setattr(standby, "_HERE_S", PATIENCE_S)  # a new interpreter may be slow to answer
    made: list[Standby] = []

    def start_one(manner: str = "well", wait_s: float = 600.0) -> Standby:
        made.append(Standby(model(manner), wait_s))
        return made[-1]

    yield start_one
    for one in made:
        with contextlib.suppress(OSError):
            one._socket.shutdown(2)
        gone(one)


@pytest.fixture
def many_files() -> Iterator[None]:
    """Have so many files open as a server of many runs."""
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(before, 2 * MANY), most))
    with contextlib.ExitStack() as files:
        while files.enter_context(Path(os.devnull).open("rb")).fileno() < MANY:
            pass
        yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


@pytest.fixture
def side(tmp_path: Path) -> Path:
    (tmp_path / "side").mkdir()
    return tmp_path / "side"


@pytest.fixture
def run_dir(tmp_path: Path, side: Path) -> Path:
    return prepared(tmp_path, side, "finishes")


def prepared(tmp_path: Path, side: Path, manner: str, **fields: Any) -> Path:
    argv = [*PYTHON, str(JOBS / "telling.py"), str(side), manner]
    return make(tmp_path / "run", argv=argv, cwd=side, grace_s=0.2, **fields)


def told(run_dir: Path) -> dict[str, Any]:
    """Give what the job told of itself, which it did once."""
    (line,) = (line for line in (run_dir / "log").read_text().splitlines() if line.startswith("{"))
    value: dict[str, Any] = json.loads(line)
    return value


def check_cold(run_dir: Path, side: Path, ended: rundir.Exit, one: Standby) -> None:
    """Hold the run to what any other is: done once, as if nothing had waited; nothing is left of what had."""
    assert (ended.outcome, ended.failure) == ("finished", None)
    assert (side / "runs").read_text().split() == [str(told(run_dir)["pid"])]
    assert told(run_dir)["cwd"] == str(side)
    gone(one)


class TestGivenARun:
    def test_its_worker_does_it_as_a_new_one_would(self, start: Start, run_dir: Path, side: Path) -> None:
        one = start()
        waiting = worker(one)
        assert rundir.start(run_dir, ENV, standby=one)
        ended = end(run_dir)
        env = {
            "FINETUNER_RUN_DIR": str(run_dir),
            "FINETUNER_COOKIE": one.cookie,
            "FINETUNER_STANDBY_FD": None,
            "GIVEN": "with the worker",
        }
        assert told(run_dir) == {"pid": waiting, "cwd": str(side), "env": env}
        assert (ended.outcome, ended.exit_code, ended.failure) == ("finished", 0, None)
        assert json.loads((run_dir / "job.json").read_bytes())["cookie"] == one.cookie
        assert [event["step"] for event in rundir.read_events(run_dir, 0)[0]] == [1]
        assert (run_dir / "log").read_text().startswith("said before there was a run\n")
        assert (run_dir / "supervisor.log").read_bytes() == b""
        gone(one)

    def test_one_that_is_not_ready_yet_does_it_once_it_is(self, start: Start, run_dir: Path) -> None:
        one = start()
        assert rundir.start(run_dir, ENV, standby=one)
        assert end(run_dir).outcome == "finished"
        assert told(run_dir)["env"]["FINETUNER_COOKIE"] == one.cookie

    @pytest.mark.usefixtures("many_files")
    def test_its_worker_does_it_though_the_server_has_many_files_open(self, start: Start, run_dir: Path) -> None:
        one = start()
        waiting = worker(one)
        assert one._socket.fileno() > MANY
        assert rundir.start(run_dir, ENV, standby=one)
        assert end(run_dir).outcome == "finished"
        assert told(run_dir)["pid"] == waiting

    def test_a_failing_run_fails_as_it_would_anyway(self, start: Start, tmp_path: Path, side: Path) -> None:
        run_dir = prepared(tmp_path, side, "fails")
        assert rundir.start(run_dir, ENV, standby=start())
        ended = end(run_dir)
        assert (ended.outcome, ended.exit_code) == ("failed", 3)
        assert len((side / "runs").read_text().split()) == 1

    def test_it_is_stopped_as_any_run(self, start: Start, tmp_path: Path, side: Path) -> None:
        run_dir, one = prepared(tmp_path, side, "waits"), start()
        assert rundir.start(run_dir, ENV, standby=one)
        until((side / "runs").exists, "the job")
        assert rundir.observe(run_dir).state == "running"
        rundir.request_stop(run_dir)
        assert end(run_dir).outcome == "cancelled"
        gone(one)

    def test_stopped_before_the_start_it_never_runs(self, start: Start, run_dir: Path, side: Path) -> None:
        one = start()
        rundir.request_stop(run_dir)
        assert rundir.start(run_dir, ENV, standby=one)
        assert end(run_dir).outcome == "cancelled"
        assert not (side / "runs").exists()
        gone(one)

    @pytest.mark.parametrize("victim", ["supervisor", "worker"])
    def test_who_is_killed_in_the_run_ends_it_truly(
        self, start: Start, tmp_path: Path, side: Path, victim: str
    ) -> None:
        run_dir, one = prepared(tmp_path, side, "waits"), start()
        waiting = worker(one)
        assert rundir.start(run_dir, ENV, standby=one)
        until((side / "runs").exists, "the job")
        os.kill(one._process.pid if victim == "supervisor" else waiting, signal.SIGKILL)
        ended = end(run_dir)
        assert (ended.outcome, ended.signal) == (("lost", None) if victim == "supervisor" else ("failed", 9))
        assert len((side / "runs").read_text().split()) == 1
        gone(one)


class TestARunIsStartedAnew:
    @pytest.mark.parametrize("manner", ["declines", "dies"])
    def test_where_the_worker_ends_before_it_takes_the_run(
        self, start: Start, run_dir: Path, side: Path, manner: str
    ) -> None:
        one = start(manner)
        waiting = worker(one)
        assert rundir.start(run_dir, ENV, standby=one)
        check_cold(run_dir, side, end(run_dir), one)
        assert told(run_dir)["pid"] != waiting

    def test_where_the_worker_is_killed_in_the_moment_of_the_hand_over(
        self, start: Start, run_dir: Path, side: Path
    ) -> None:
        one = start()
        waiting = worker(one)
        os.kill(waiting, signal.SIGSTOP)
        assert rundir.start(run_dir, ENV, standby=one)
        assert not (side / "runs").exists()
        os.kill(waiting, signal.SIGKILL)
        check_cold(run_dir, side, end(run_dir), one)

    @pytest.mark.parametrize("victim", ["supervisor", "worker"])
    def test_where_one_was_killed_while_it_waited(self, start: Start, run_dir: Path, side: Path, victim: str) -> None:
        one = start()
        waiting = worker(one)
        os.kill(one._process.pid if victim == "supervisor" else waiting, signal.SIGKILL)
        rundir.start(run_dir, ENV, standby=one)
        check_cold(run_dir, side, end(run_dir), one)
        assert told(run_dir)["pid"] != waiting

    def test_where_the_supervisor_hangs(
        self, start: Start, run_dir: Path, side: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(standby, "_HERE_S", 0.05)
        monkeypatch.setattr(standby, "_END_S", 3600.0)  # it is not waited for: others wait for this start
        one = start()
        worker(one)
        os.kill(one._process.pid, signal.SIGSTOP)
        assert not rundir.start(run_dir, ENV, standby=one)
        check_cold(run_dir, side, end(run_dir), one)

    def test_where_the_supervisor_is_killed_with_the_run_in_its_hands(
        self, start: Start, run_dir: Path, side: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = start()
        worker(one)
        has_said = Standby._has_said

        def stopping(self: Standby, word: str, timeout_s: float) -> bool:
            if word == "started":  # given, and not yet read: it dies with the lock in its socket
                os.kill(self._process.pid, signal.SIGKILL)
            said = has_said(self, word, timeout_s)
            if word == "here":
                os.kill(self._process.pid, signal.SIGSTOP)
            return said

        monkeypatch.setattr(Standby, "_has_said", stopping)
        assert not rundir.start(run_dir, ENV, standby=one)
        check_cold(run_dir, side, end(run_dir), one)

    def test_where_the_folder_cannot_be_entered_it_fails_as_ever(self, start: Start, tmp_path: Path) -> None:
        run_dir = make(tmp_path / "run", "print(1)", cwd=tmp_path / "none")
        one = start()
        assert rundir.start(run_dir, ENV, standby=one)
        ended = end(run_dir)
        assert ended.failure is not None
        assert "cannot start the job" in ended.failure.message
        gone(one)


class TestAsked:
    def test_one_that_waits_is_here_however_often_it_is_asked(self, start: Start, run_dir: Path) -> None:
        one = start()
        assert one.is_here()
        assert one.is_here()
        assert rundir.start(run_dir, ENV, standby=one)
        assert end(run_dir).outcome == "finished"

    def test_one_that_was_here_and_was_killed_since_is_not(self, start: Start, run_dir: Path, side: Path) -> None:
        one = start()
        assert one.is_here()
        os.kill(one._process.pid, signal.SIGKILL)
        until(lambda: not one.is_alive, "the server's notice")
        assert not one.is_here()
        assert not rundir.start(run_dir, ENV, standby=one)
        check_cold(run_dir, side, end(run_dir), one)

    def test_one_that_hangs_is_killed_at_once(self, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(standby, "_HERE_S", 0.05)
        monkeypatch.setattr(standby, "_END_S", 3600.0)
        one = start()
        worker(one)
        os.kill(one._process.pid, signal.SIGSTOP)
        assert not one.is_here()
        gone(one)
        assert one._process.wait(PATIENCE_S) == -signal.SIGKILL


class TestEnds:
    def test_it_ends_with_the_server(self, start: Start) -> None:
        one = start()
        worker(one)
        one._socket.shutdown(2)  # as the system does where the server was killed
        gone(one)

    def test_it_ends_with_a_server_that_it_never_heard_of(self, start: Start) -> None:
        one = start()  # its worker is not there yet
        one._socket.shutdown(2)
        gone(one)

    def test_it_ends_when_it_has_waited_long_enough(self, start: Start) -> None:
        one = start(wait_s=0.5)
        until(lambda: not one.is_alive, "the end of the wait")
        gone(one)

    @pytest.mark.parametrize("victim", ["supervisor", "worker"])
    def test_neither_outlives_the_other(self, start: Start, victim: str) -> None:
        one = start()
        waiting = worker(one)
        kill(one._process.pid if victim == "supervisor" else waiting)
        gone(one)
        until(lambda: not one.is_alive, "the server's notice")


@pytest.fixture
def pool() -> Iterator[Callable[[int], Standbys]]:
    made: list[Standbys] = []

    def make_pool(most: int, wait_s: float = 600.0) -> Standbys:
        made.append(Standbys(most, wait_s))
        return made[-1]

    yield make_pool
    for one in made:
        one.close()


class TestStandbys:
    def test_none_waits_where_none_is_wanted(self, pool: Callable[..., Standbys]) -> None:
        for none in (pool(0), pool(1, 0.0)):
            none.start_like(model(), 5)
            assert none.take(model()) is None

    def test_it_is_given_to_a_run_that_is_like_it_and_once(self, pool: Callable[..., Standbys]) -> None:
        one = pool(1)
        one.start_like(model(), 1)
        one.start_like(model(), 1)
        assert one.take(model(OTHER="value")) is None
        found = one.take(model())
        assert found is not None
        assert one.take(model()) is None
        found.end()

    def test_the_newest_takes_the_place_of_the_oldest(self, pool: Callable[..., Standbys]) -> None:
        one = pool(2)
        for number in range(3):
            one.start_like(model(NUMBER=str(number)), 5)
        waiting = list(one._waiting)
        assert [each.model.env["NUMBER"] for each in waiting] == ["1", "2"]
        one.keep(1)
        gone(waiting[0])
        one.keep(0)
        gone(waiting[1])

    def test_one_that_has_ended_is_given_to_nobody(self, pool: Callable[..., Standbys]) -> None:
        one = pool(1)
        one.start_like(model(), 1)
        (waiting,) = one._waiting
        os.kill(waiting._process.pid, signal.SIGKILL)
        until(lambda: not waiting.is_alive, "the server's notice")
        assert one.take(model()) is None
        one.start_like(model(), 1)
        assert len(one._waiting) == 1
        assert one._waiting != [waiting]

    def test_closed_it_starts_none(self, pool: Callable[..., Standbys]) -> None:
        one = pool(1)
        one.start_like(model(), 1)
        (waiting,) = one._waiting
        one.close()
        gone(waiting)
        one.start_like(model(), 1)
        assert one.take(model()) is None

    @pytest.mark.parametrize("path", ["lib", "/lib:", "/lib:."])
    def test_none_waits_where_the_path_depends_on_the_folder(self, pool: Callable[..., Standbys], path: str) -> None:
        one = pool(1)
        one.start_like(model(PYTHONPATH=path), 1)
        assert not one._waiting

    def test_what_cannot_be_started_is_no_matter(
        self, pool: Callable[..., Standbys], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = pool(1)
        monkeypatch.setattr(sys, "executable", "/no/such/python")
        one.start_like(model(), 1)
        assert one.take(model()) is None
