"""The supervisor: what it makes of a job's output, and how it says that the job ended."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import stat
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetuner.job import supervisor
from finetuner.server.executors import rundir
from tests.rundir_support import end, make, marked, processes, run, until

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="uses /proc or prlimit")
EVENT = """
import json, os
def say(**event): os.write(int(os.environ['FINETUNER_EVENTS_FD']), json.dumps(event).encode() + b'\\n')
"""


def fed(splitter: supervisor.LogLines | supervisor.EventLines, data: bytes, cuts: list[int]) -> bytes:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    done = b"".join(splitter.feed(data[start:end]) for start, end in pairwise(edges))
    return done + splitter.finish()


def events_of(run_dir: Path) -> list[dict[str, Any]]:
    return rundir.read_events(run_dir, 0, max_bytes=2**26)[0]


class TestLogLines:
    @given(
        data=st.lists(
            st.sampled_from([b"a", "é".encode(), b"\r", b"\n", b"\r\n", b"\x0c", "€€€".encode(), b"\xff"])
        ).map(b"".join),
        cuts=st.lists(st.integers(0, 200), max_size=8),
    )
    def test_cuts_make_no_difference(self, data: bytes, cuts: list[int]) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(supervisor, "MAX_LINE_BYTES", 7)
            whole = fed(supervisor.LogLines(), data, [])
            assert fed(supervisor.LogLines(), data, cuts) == whole
            assert all(len(line) <= 7 for line in whole.split(b"\n"))
            assert whole == b"" or whole.endswith(b"\n")

    @given(st.lists(st.lists(st.text(alphabet="ab ", max_size=5), min_size=1, max_size=4), max_size=5))
    def test_of_overprints_the_last_is_kept(self, lines: list[list[str]]) -> None:
        written = "".join("\r".join(overprints) + "\n" for overprints in lines)
        expected = "".join(next((one for one in reversed(overprints) if one), "") + "\n" for overprints in lines)
        assert fed(supervisor.LogLines(), written.encode(), []).decode() == expected

    @given(st.text(alphabet="aé€😀", min_size=1, max_size=60))
    def test_a_long_line_is_split_between_characters(self, text: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(supervisor, "MAX_LINE_BYTES", 9)
            pieces = fed(supervisor.LogLines(), text.encode(), []).removesuffix(b"\n").split(b"\n")
        assert "".join(piece.decode() for piece in pieces) == text
        assert all(6 <= len(piece) <= 9 for piece in pieces[:-1])

    def test_an_hour_of_a_progress_bar_is_one_line_and_no_memory(self) -> None:
        lines = supervisor.LogLines()
        for step in range(100_000):
            assert lines.feed(b"\r%5d/100000 steps" % step) == b""
        assert len(lines._text) < 100
        assert lines.feed(b"\n") == b"99999/100000 steps\n"


class TestEventLines:
    @given(
        data=st.lists(
            st.sampled_from(
                [b'{"kind":"log","t":1}', b'{"kind":"failure","t":2,"type":"E"}', b"\n", b"{", b"[1]", b" "]
            )
        ).map(b"".join),
        cuts=st.lists(st.integers(0, 200), max_size=8),
    )
    def test_cuts_make_no_difference(self, data: bytes, cuts: list[int]) -> None:
        def kinds(lines: bytes) -> list[tuple[str, str | None]]:
            return [(one["kind"], one.get("message")) for one in map(json.loads, lines.splitlines())]

        assert kinds(fed(supervisor.EventLines(), data, cuts)) == kinds(fed(supervisor.EventLines(), data, []))

    @pytest.mark.parametrize(
        "line",
        [
            b"not json",
            b"[]",
            b'"kind"',
            b"{}",
            b'{"kind": 5}',
            b'{"kind": "log"',
            b"\xff\xfe",
            b"[" * 100_000,
            b"9" * 9999,
            b'{"kind": "examples", "values": ' + b"[" * 100 + b"]" * 100 + b"}",
            b'{"kind": "examples", "values": ' + b'{"a":' * 100 + b"1" + b"}" * 101,
        ],
    )
    def test_what_is_no_event_becomes_a_warning(self, line: bytes) -> None:
        written = json.loads(supervisor.EventLines().feed(line + b"\n"))
        assert (written["kind"], written["level"]) == ("log", "warning")
        assert "no JSON object with a kind" in written["message"]

    def test_every_reader_can_read_what_is_written(self) -> None:
        line = rb'{"kind": "progress", "loss": NaN, "left_s": -Infinity, "step": 1e999, "text": "\ud800 \u20ac"'
        line += b', "t": "now"}'
        written = supervisor.EventLines().feed(line + b"\n")
        event = json.loads(written.decode("utf-8"))
        assert (event["loss"], event["left_s"], event["step"], event["text"]) == (None, None, None, "? €")
        assert isinstance(event["t"], float)

    def test_numbers_and_depth_stay_within_what_readers_take(self) -> None:
        large = {
            "kind": "metrics",
            "t": 1,
            "values": {"most": 2**63 - 1, "more": 2**63, "least": -(2**63), "x": 10**400},
        }
        event = orjson.loads(supervisor.EventLines().feed(json.dumps(large).encode() + b"\n"))
        assert event["values"] == {"most": 2**63 - 1, "more": None, "least": -(2**63), "x": None}
        deep = b'{"kind": "examples", "t": 1, "values": ' + b"[" * 99 + b"]" * 99 + b"}\n"
        assert orjson.loads(supervisor.EventLines().feed(deep)) == json.loads(deep)

    def test_an_event_too_large_is_dropped_without_keeping_it(self) -> None:
        lines = supervisor.EventLines()
        for _ in range(80):
            assert lines.feed(b"x" * 2**16) == b""
        assert len(lines._line) <= supervisor.MAX_EVENT_BYTES
        first, second = lines.feed(b'\n{"kind": "log", "t": 3}\n').splitlines()
        assert f"an event of {80 * 2**16} bytes was dropped" in json.loads(first)["message"]
        assert json.loads(second) == {"kind": "log", "t": 3}


class TestEnds:
    def test_finished(self, tmp_path: Path) -> None:
        code = "import sys\nprint('out', flush=True)\nprint('err', file=sys.stderr)\nsys.stdout.write('no newline')"
        ended = run(make(tmp_path / "r", code))
        assert (ended.outcome, ended.exit_code, ended.signal, ended.failure) == ("finished", 0, None, None)
        assert (tmp_path / "r/log").read_bytes() == b"out\nerr\nno newline\n"
        assert ended.last_lines == ("out", "err", "no newline")
        assert ended.log_bytes == 19
        assert ended.started_at is not None
        assert ended.started_at < ended.ended_at

    def test_the_artifact_is_there_only_when_finished(self, tmp_path: Path) -> None:
        code = "open('artifact.zip.part', 'wb').write(b'12345'); raise SystemExit({})"
        assert run(make(tmp_path / "good", code.format(0))).artifact_bytes == 5
        assert (tmp_path / "good/artifact.zip").read_bytes() == b"12345"
        assert run(make(tmp_path / "bad", code.format(1))).artifact_bytes is None
        assert not list((tmp_path / "bad").glob("artifact*"))

    def test_the_last_failure_event_says_why(self, tmp_path: Path) -> None:
        code = EVENT + "say(kind='failure', type='A', message='first')\n"
        code += (
            "say(kind='failure', type='ValueError', message='bad', hint='do', traceback='Trace')\nraise SystemExit(3)"
        )
        ended = run(make(tmp_path / "r", code))
        assert ended.outcome == "failed"
        assert ended.exit_code == 3
        assert ended.failure is not None
        assert (ended.failure.type, ended.failure.message) == ("ValueError", "bad")
        assert (ended.failure.hint, ended.failure.traceback) == ("do", "Trace")
        assert [event["kind"] for event in events_of(tmp_path / "r")] == ["failure", "failure"]

    @pytest.mark.parametrize(
        ("code", "kind", "said", "hint"),
        [
            ("raise SystemExit(7)", "ExitCode", "exit code 7", "log"),
            ("import os; os.kill(os.getpid(), 9)", "Killed", "signal 9 (SIGKILL)", "memory"),
            ("raise SystemExit(137)", "Killed", "signal 9 (SIGKILL)", "memory"),
            ("import os; os.kill(os.getpid(), 11)", "Killed", "signal 11 (SIGSEGV)", "native code"),
        ],
    )
    def test_without_one_the_exit_code_does(self, tmp_path: Path, code: str, kind: str, said: str, hint: str) -> None:
        failure = run(make(tmp_path / "r", f"print('last words', flush=True); {code}")).failure
        assert failure is not None
        assert failure.type == kind
        assert said in failure.message
        assert hint in (failure.hint or "")
        assert failure.last_lines == ("last words",)

    @pytest.mark.parametrize(
        ("fields", "kind"),
        [
            ({"argv": ["/no/such/program"]}, "FileNotFoundError"),
            ({"argv": ["/etc/passwd"]}, "PermissionError"),
            ({"argv": [sys.executable], "cwd": Path("/no/such/folder")}, "FileNotFoundError"),
            ({"argv": ["nul\0"]}, "ValueError"),
            ({"argv": []}, "IndexError"),
        ],
    )
    def test_a_command_that_cannot_start_fails_at_once(self, tmp_path: Path, fields: dict[str, Any], kind: str) -> None:
        ended = run(make(tmp_path / "r", **fields))
        assert (ended.outcome, ended.exit_code, ended.signal) == ("failed", None, None)
        assert ended.failure is not None
        assert ended.failure.type == kind
        named = str(fields.get("cwd") or (fields["argv"] or ["supervisor"])[0]).removesuffix("\0")
        assert named in ended.failure.message or kind == "ValueError"

    def test_secrets_reach_the_job_and_no_file(self, tmp_path: Path) -> None:
        code = "import os; e = os.environ; print(e['TOKEN'][::-1], e['PLAIN'], os.getcwd() == e['FINETUNER_RUN_DIR'])"
        ended = run(make(tmp_path / "r", code, env={"PLAIN": "set"}), {"TOKEN": "s3cr3t-token"})
        assert ended.last_lines == ("nekot-t3rc3s set True",)
        assert not [file for file in (tmp_path / "r").iterdir() if b"s3cr3t-token" in file.read_bytes()]
        assert stat.S_IMODE((tmp_path / "r").stat().st_mode) == 0o700

    def test_a_broken_job_file_is_said(self, tmp_path: Path) -> None:
        run_dir = make(tmp_path / "r", "print(1)")
        fields = json.loads((run_dir / "job.json").read_text())
        del fields["argv"]
        (run_dir / "job.json").write_text(json.dumps(fields))
        ended = run(run_dir)
        assert ended.outcome == "failed"
        assert ended.failure is not None
        assert "'argv'" in ended.failure.message


class TestStop:
    def test_the_group_is_asked_first(self, tmp_path: Path) -> None:
        code = """
import signal, sys, time
def end(*_):
    print('ending', flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print('ready', flush=True)
while True: time.sleep(60)
"""
        run_dir = make(tmp_path / "r", code)
        rundir.start(run_dir, os.environ)
        until(lambda: rundir.log_size(run_dir), "the job is ready")
        rundir.request_stop(run_dir)
        ended = end(run_dir)
        assert (ended.outcome, ended.exit_code, ended.last_lines) == ("cancelled", 0, ("ready", "ending"))
        assert ended.failure is not None
        assert ended.failure.type == "Cancelled"

    def test_who_does_not_listen_is_killed(self, tmp_path: Path) -> None:
        code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
        run_dir = make(tmp_path / "r", code, grace_s=0.1)
        rundir.start(run_dir, os.environ)
        until(lambda: rundir.log_size(run_dir), "the job is ready")
        rundir.request_stop(run_dir)
        assert (end(run_dir).outcome, end(run_dir).signal) == ("cancelled", 9)

    @LINUX
    def test_a_run_whose_directory_is_removed_ends_with_it(self, tmp_path: Path) -> None:
        cookie = "removed-" + tmp_path.name
        run_dir = make(tmp_path / "r", "import time; print(1, flush=True); time.sleep(600)", cookie=cookie)
        rundir.start(run_dir, os.environ)
        until(lambda: rundir.log_size(run_dir), "the job is ready")
        shutil.rmtree(run_dir)
        until(lambda: not marked(cookie), "the end of supervisor and command")

    def test_before_the_start_the_command_never_runs(self, tmp_path: Path) -> None:
        run_dir = make(tmp_path / "r", "open('ran', 'w')")
        rundir.request_stop(run_dir)
        ended = run(run_dir)
        assert (ended.outcome, ended.exit_code) == ("cancelled", None)
        assert not (run_dir / "ran").exists()

    @LINUX
    def test_the_supervisor_takes_sigterm_for_a_stop_and_other_signals_for_nothing(self, tmp_path: Path) -> None:
        code = "import signal, time; print(signal.getsignal(1), signal.getsignal(2), flush=True); time.sleep(600)"
        run_dir = make(tmp_path / "r", code)
        rundir.start(run_dir, os.environ)
        until(lambda: rundir.log_size(run_dir), "the job is ready")
        (pid,) = processes(str(rundir.SUPERVISOR), str(run_dir))
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            os.kill(pid, number)
        ended = end(run_dir)
        assert (ended.outcome, ended.signal) == ("cancelled", 15)
        assert ended.last_lines[0].startswith("0 <built-in function default_int_handler")


class TestGrandchildren:
    CODE = """
import os, time
if os.fork() == 0:
    {session}
    for number in range(3):
        time.sleep(0.02)
        print(number, flush=True)
    time.sleep(600)
os._exit(0)
"""

    @LINUX
    @pytest.mark.parametrize("session", ["pass", "os.setsid()"])
    def test_what_holds_the_pipe_is_heard_for_a_while_and_ended(self, tmp_path: Path, session: str) -> None:
        run_dir = make(tmp_path / "r", self.CODE.format(session=session), drain_s=0.3)
        ended = run(run_dir)
        assert ended.outcome == "finished"
        assert ended.last_lines == ("0", "1", "2")[: len(ended.last_lines)]
        cookie = json.loads((run_dir / "job.json").read_text())["cookie"]
        until(lambda: not marked(cookie), "the end of the supervisor itself")

    def test_a_stop_ends_the_waiting(self, tmp_path: Path) -> None:
        run_dir = make(tmp_path / "r", self.CODE.format(session="pass"), drain_s=10_000.0)
        rundir.start(run_dir, os.environ)
        until(lambda: rundir.log_size(run_dir) == 6, "the grandchild has spoken")
        rundir.request_stop(run_dir)
        ended = end(run_dir)
        assert (ended.outcome, ended.last_lines) == ("finished", ("0", "1", "2"))

    @LINUX
    def test_the_lifeline_ends_the_job_with_nobody_looking(self, tmp_path: Path) -> None:
        code = "import os; print(1, flush=True); os.read(int(os.environ['FINETUNER_LIFELINE_FD']), 1); os.killpg(0, 9)"
        run_dir = make(tmp_path / "r", code)
        rundir.start(run_dir, os.environ)
        until(lambda: rundir.log_size(run_dir), "the job is ready")
        (pid,) = processes(str(rundir.SUPERVISOR), str(run_dir))
        os.kill(pid, signal.SIGKILL)
        cookie = json.loads((run_dir / "job.json").read_text())["cookie"]
        until(lambda: not marked(cookie), "the end of the job")
        assert not (run_dir / "exit.json").exists()


@LINUX
class TestFullDisk:
    """A limit of file size refuses writes as a full disk does, and can be lifted from outside."""

    CODE = (
        EVENT
        + """
import time
def write(first, last):
    for number in range(first, last):
        os.write(1, b'%09d' % number + b'x' * 990 + b'\\n')
        say(kind='log', t=1.0, number=number, text='x' * 900)
write(0, {most})
open('written', 'w')
while not os.path.exists('go'): time.sleep(0.005)
write({most}, {most} + 10)
"""
    )

    def start(self, tmp_path: Path, most: int) -> tuple[Path, int]:
        run_dir = make(tmp_path / "r", self.CODE.format(most=most))
        python = tmp_path / "python"
        python.write_text(
            f"#!{sys.executable}\nimport os, resource, sys\n"
            f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (300_500, resource.RLIM_INFINITY))\n"
            "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
        )
        python.chmod(0o700)
        rundir.start(run_dir, os.environ, python=str(python))
        until((run_dir / "written").exists, "the job was never blocked")
        return run_dir, int((tmp_path / "pid").read_text())

    def test_whole_lines_wait_until_there_is_room(self, tmp_path: Path) -> None:
        run_dir, pid = self.start(tmp_path, 1_000)
        until(lambda: rundir.log_size(run_dir) == 300_000, "whole lines alone")
        assert len(events_of(run_dir)) == (run_dir / "events.jsonl").read_bytes().count(b"\n")
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        (run_dir / "go").touch()
        ended = end(run_dir)
        assert (ended.outcome, ended.failure) == ("finished", None)
        lines = (run_dir / "log").read_text().splitlines()
        assert [int(line[:9]) for line in lines] == list(range(1_010))
        assert [event["number"] for event in events_of(run_dir)] == list(range(1_010))

    def test_a_gap_is_marked_and_said(self, tmp_path: Path) -> None:
        run_dir, pid = self.start(tmp_path, 6_000)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        until(lambda: (run_dir / "log").read_bytes().count(b"the disk refused"), "the gap in the log")
        until(lambda: (run_dir / "events.jsonl").read_bytes().count(b"the disk refused"), "the gap in the events")
        (run_dir / "go").touch()
        ended = end(run_dir)
        assert ended.outcome == "finished"
        assert ended.failure is not None
        assert ended.failure.type == "StorageFull"
        assert "free some room" in (ended.failure.hint or "")
        before, gap, after = (run_dir / "log").read_text().partition("[finetuner] the disk refused ")
        assert gap
        first = [int(line[:9]) for line in before.splitlines()]
        last = [int(line[:9]) for line in after.splitlines()[1:]]
        assert first == list(range(len(first)))
        assert last == list(range(6_010 - len(last), 6_010))
        assert int(after.split()[0]) == 1_000 * (6_010 - len(first) - len(last))
        assert events_of(run_dir)[-1]["number"] == 6_009
        assert len(events_of(run_dir)) == (run_dir / "events.jsonl").read_bytes().count(b"\n")

    def test_a_disk_that_stays_full_still_says_how_it_ended(self, tmp_path: Path) -> None:
        run_dir, _ = self.start(tmp_path, 6_000)
        (run_dir / "go").touch()
        ended = end(run_dir)
        assert ended.outcome == "finished"
        assert ended.failure is not None
        assert "bytes of its log or events" in ended.failure.message
        assert ended.log_bytes == 300_000
        assert len(events_of(run_dir)) == (run_dir / "events.jsonl").read_bytes().count(b"\n")
