"""The server's side of a run directory, and the page that describes both sides."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetuner.errors import Conflict, LogTruncated, StateCorrupt, StorageFull
from finetuner.server.executors import rundir
from tests.rundir_support import end, make, processes, run, until

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/run-directory.md").read_text(encoding="utf-8")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
JOB = rundir.Job(run_id="r", argv=["true"])
WAITING = "import time; print(1, flush=True); time.sleep(600)"


def lose(run_dir: Path) -> None:
    """Start a run and kill its supervisor."""
    rundir.start(run_dir, os.environ)
    until(lambda: rundir.log_size(run_dir), "the job speaks")
    (pid,) = processes(str(rundir.SUPERVISOR), str(run_dir))
    os.kill(pid, signal.SIGKILL)
    until(lambda: not list(processes(str(rundir.SUPERVISOR), str(run_dir))), "the end of the supervisor")


class TestCreate:
    def test_a_directory_is_made_once(self, tmp_path: Path) -> None:
        rundir.create(tmp_path / "r", JOB, {"task": "training"})
        before = (tmp_path / "r/job.json").read_bytes()
        with pytest.raises(Conflict, match="exists already"):
            rundir.create(tmp_path / "r", JOB, {})
        assert (tmp_path / "r/job.json").read_bytes() == before
        assert [path.name for path in tmp_path.iterdir()] == ["r"]

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
    def test_a_full_disk_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        def refuse(fd: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(StorageFull, match="free some"):
            rundir.create(tmp_path / "r", JOB, {})
        assert not list(tmp_path.iterdir())


class TestStart:
    def test_a_run_is_started_once(self, tmp_path: Path) -> None:
        run_dir = make(tmp_path / "r", WAITING)

        def attempt(_: int) -> bool:
            try:
                rundir.start(run_dir, os.environ)
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(attempt, range(4))).count(True) == 1
        rundir.request_stop(run_dir)
        assert end(run_dir).outcome == "cancelled"
        with pytest.raises(Conflict, match="started before"):
            rundir.start(run_dir, os.environ)

    def test_a_supervisor_that_cannot_be_started_leaves_the_run_to_be_started(self, tmp_path: Path) -> None:
        run_dir = make(tmp_path / "r", "print(1)")
        with pytest.raises(FileNotFoundError):
            rundir.start(run_dir, os.environ, python="/no/such/python")
        assert rundir.observe(run_dir).state == "not_started"
        assert run(run_dir).outcome == "finished"


class TestObserve:
    def test_each_state(self, tmp_path: Path) -> None:
        run_dir = make(tmp_path / "r", WAITING)
        assert rundir.observe(run_dir) == rundir.Observation(state="not_started")
        rundir.start(run_dir, os.environ)
        assert rundir.observe(run_dir).state == "running"
        until(lambda: rundir.log_size(run_dir), "the job speaks")
        running = rundir.observe(run_dir)
        assert running.state == "running"
        assert running.started_at is not None
        rundir.request_stop(run_dir)
        ended = end(run_dir)
        assert rundir.observe(run_dir) == rundir.Observation(state="ended", started_at=running.started_at, exit=ended)
        with pytest.raises(FileNotFoundError):
            rundir.observe(tmp_path / "other")

    @LINUX
    def test_a_lost_run_is_recorded_once_whoever_looks(self, tmp_path: Path) -> None:
        run_dir = make(tmp_path / "r", WAITING)
        lose(run_dir)
        with ThreadPoolExecutor(6) as threads:
            exits = list(threads.map(lambda _: end(run_dir), range(6)))
        assert len(set(exits)) == 1
        assert (exits[0].outcome, exits[0].last_lines) == ("lost", ("1",))
        assert exits[0].failure is not None
        assert exits[0].failure.type == "Lost"

    @LINUX
    def test_lines_cut_by_the_kill_are_ended_or_taken_back(self, tmp_path: Path) -> None:
        run_dir = make(tmp_path / "r", WAITING)
        lose(run_dir)
        told = {"kind": "failure", "t": 1, "type": "MemoryError", "message": "it said so itself"}
        with (run_dir / "log").open("ab") as log, (run_dir / "events.jsonl").open("ab") as events:
            log.write(b"cut he")
            events.write(json.dumps(told).encode() + b'\n{"kind": "prog')
        ended = end(run_dir)
        whole = b"1\ncut he\nfailed: MemoryError: it said so itself\n"
        assert (run_dir / "log").read_bytes() == whole
        assert (ended.log_bytes, ended.last_lines) == (len(whole), ("1", "cut he"))
        assert rundir.read_events(run_dir, 0) == ([told], ended.events_bytes)
        assert ended.outcome == "lost"
        assert ended.failure is not None
        assert ended.failure.message == "it said so itself"

    @LINUX
    def test_while_another_one_records_it_the_run_still_runs(self, tmp_path: Path) -> None:
        run_dir = make(tmp_path / "r", WAITING)
        lose(run_dir)
        with (run_dir / "alive").open("rb") as alive:
            fcntl.flock(alive, fcntl.LOCK_EX)
            assert rundir.observe(run_dir).state == "running"
            assert not (run_dir / "exit.json").exists()
        assert end(run_dir).outcome == "lost"

    @pytest.mark.parametrize("content", ["", "{", "{}", '{"started_at": 5}'])
    def test_a_broken_exit_is_said(self, tmp_path: Path, content: str) -> None:
        run_dir = make(tmp_path / "r", "print(1)")
        (run_dir / "exit.json").write_text(content)
        with pytest.raises(StateCorrupt, match=r"exit\.json"):
            rundir.observe(run_dir)


class TestReading:
    @given(sizes=st.lists(st.integers(0, 50), max_size=12), max_bytes=st.integers(1, 200), torn=st.integers(0, 10))
    def test_events_come_once_each_whatever_is_asked_for(
        self, tmp_path_factory: pytest.TempPathFactory, sizes: list[int], max_bytes: int, torn: int
    ) -> None:
        run_dir = tmp_path_factory.mktemp("events")
        events = [{"kind": "log", "t": 0, "text": "x" * size} for size in sizes]
        lines = b"".join(json.dumps(event).encode() + b"\n" for event in events)
        (run_dir / "events.jsonl").write_bytes(lines + b'{"kind": "log"'[:torn])
        got: list[dict[str, Any]] = []
        offset = 0
        while (step := rundir.read_events(run_dir, offset, max_bytes))[1] > offset:
            got += step[0]
            offset = step[1]
        assert (got, offset) == (events, len(lines))

    def test_before_there_is_anything(self, tmp_path: Path) -> None:
        assert rundir.log_size(tmp_path) == 0
        assert rundir.read_log(tmp_path, 0, 10) == b""
        assert rundir.read_events(tmp_path, 0) == ([], 0)
        with pytest.raises(LogTruncated):
            rundir.read_log(tmp_path, 1, 10)

    def test_ranges_of_the_log(self, tmp_path: Path) -> None:
        (tmp_path / "log").write_bytes(b"0123456789")
        assert rundir.read_log(tmp_path, 3, 6) == b"345"
        assert rundir.read_log(tmp_path, 8, 99) == b"89"
        assert rundir.read_log(tmp_path, 10, 99) == b""
        assert rundir.read_log(tmp_path, 6, 3) == b""
        with pytest.raises(LogTruncated, match="fewer than the offset 11"):
            rundir.read_log(tmp_path, 11, 99)


class TestPage:
    def fields(self, heading: str) -> set[str]:
        section = PAGE[PAGE.index(heading) :].partition("\n")[2]
        return set(
            re.findall(r"^\| `(\w+)` \|", re.split(r"^#|^A `failure`", section, flags=re.MULTILINE)[0], re.MULTILINE)
        )

    def test_every_field_is_on_the_page_and_no_other(self, tmp_path: Path) -> None:
        run(make(tmp_path / "r", "raise SystemExit(1)"))
        for name in ("job.json", "started.json", "exit.json"):
            assert self.fields(f"### `{name}`") == set(json.loads((tmp_path / "r" / name).read_bytes())), name
        failure = json.loads((tmp_path / "r/exit.json").read_bytes())["failure"]
        assert self.fields("A `failure` is") == set(failure)
        read = {field.name for field in attrs.fields(rundir.Exit)} | {"schema"}
        assert self.fields("### `exit.json`") == read
        assert self.fields("### `job.json`") == {field.name for field in attrs.fields(rundir.Job)} | {"schema"}

    def test_every_file_is_on_the_page_and_no_other(self, tmp_path: Path) -> None:
        source = (ROOT / "finetuner/job/supervisor.py").read_text() + Path(rundir.__file__).read_text()
        named = set(re.findall(r'(?:run_dir|part) / "([\w.]+)"', source)) | {"spec.json"}
        documented = set(re.findall(r"^\| `([\w.]+)` \| (?:starter|supervisor|server|worker)", PAGE, re.MULTILINE))
        assert documented == named
        code = "open('artifact.zip.part', 'w')"
        run(make(tmp_path / "r", code))
        rundir.request_stop(tmp_path / "r")
        assert {path.name for path in (tmp_path / "r").iterdir()} == documented - {
            "exit.json.part",
            "artifact.zip.part",
        }

    def test_every_variable_is_on_the_page_and_no_other(self) -> None:
        source = (ROOT / "finetuner/job/supervisor.py").read_text()
        set_for_the_job = set(re.findall(r'"(FINETUNER_\w+)":', source))
        assert set(re.findall(r"^\| `(FINETUNER_\w+)`", PAGE, re.MULTILINE)) == set_for_the_job
