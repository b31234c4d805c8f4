"""`finetuner top`: the board by itself, and the command on a real terminal against a real service."""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import io
import json
import os
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator

import anyio
import attrs
import pytest
from rich.cells import cell_len
from rich.console import Console

from finetuner.api.selecting import RunFilter
from finetuner.api.types import Change, Progress, RunInfo, RunStatus
from finetuner.cli.columns import GAP_CELLS, Script, fitted
from finetuner.cli.exits import ExitCode
from finetuner.cli.keyboard import keys_of
from finetuner.cli.top import ORDERS as OFFERED
from finetuner.cli.topscreen import Screen, picture
from finetuner.cli.topview import ORDERS, Board
from tests.cli.conftest import DEADLINE_S, Shell, read_until, settled
from tests.proxy_support import Fault, FaultProxy

NOW = dt.datetime(2026, 1, 2, 12, tzinfo=dt.UTC)
CREATED, STARTED, FINISHED, FAILED = RunStatus


def info(seq: int, status: RunStatus, **more: object) -> RunInfo:
    begun = None if status is CREATED else NOW - dt.timedelta(minutes=seq)
    made = RunInfo(
        id=f"{seq:024x}",
        seq=seq,
        name=f"run-{seq}",
        experiment_name="default",
        status=status,
        artifact_id="b" * 24,
        created_at=NOW - dt.timedelta(hours=1),
        started_at=begun,
        finished_at=NOW - dt.timedelta(seconds=seq) if status.is_terminal else None,
    )
    return attrs.evolve(made, **more)  # type: ignore[arg-type] # fields of a run


def board(*infos: RunInfo, which: RunFilter | None = None) -> Board:
    made = Board(which=which or RunFilter())
    for cursor, one in enumerate(infos):
        made.hear(Change(cursor=cursor, kind="snapshot", run_id=one.id, run=one))
    return made


def seqs(shown: Board) -> list[int]:
    return [one.seq for one in shown.picked()]


def screen(shown: Board, height: int = 24, width: int = 120, encoding: str = "utf-8") -> str:
    told = io.TextIOWrapper(io.BytesIO(), encoding, errors="backslashreplace", write_through=True)
    drawn = picture(shown, Screen(width=width, height=height, script=Script(encoding)), NOW)
    Console(file=told, width=width, height=height, force_terminal=False).print(drawn)
    text = told.buffer.getvalue().decode(encoding)
    lines = text.splitlines()
    assert len(lines) <= height
    assert max(map(cell_len, lines)) <= width
    return text


def half(seq: int, step: int) -> RunInfo:
    return info(seq, STARTED, progress=Progress(phase="training", step=step, steps=10, loss=0.5))


def test_those_that_run_come_first_and_the_stalled_before_them() -> None:
    shown = board(info(1, FINISHED), info(2, CREATED), half(3, 5), info(4, FAILED), info(5, STARTED, stalled_since=NOW))
    assert seqs(shown) == [5, 3, 2, 4, 1]
    text = screen(shown)
    assert "5 runs   STARTED 2   CREATED 1   FAILED 1   FINISHED 1   stalled 1" in text
    assert "STALLED" in text
    assert "training, step 5 of 10, loss 0.500" in text
    assert "1-5 of 5 · order lively · status all" in text


def test_changes_move_runs_and_deletions_remove_them() -> None:
    shown = board(info(1, CREATED), info(2, STARTED))
    shown.hear(Change(cursor=9, kind="status", run_id=f"{1:024x}", run=info(1, FAILED)))
    assert seqs(shown) == [2, 1]
    shown.hear(Change(cursor=10, kind="deleted", run_id=f"{2:024x}"))
    shown.hear(Change(cursor=11, kind="deleted", run_id="f" * 24))
    assert seqs(shown) == [1]


def test_a_run_that_no_longer_matches_disappears_unless_it_ended() -> None:
    def stands(shown: Board, *steps: RunInfo | None) -> list[list[RunStatus]]:
        told = []
        for cursor, one in enumerate(steps, 9):
            shown.hear(Change(cursor=cursor, kind="changed" if one else "deleted", run_id=f"{1:024x}", run=one))
            told.append([run.status for run in shown.picked()])
        return told

    waiting = board(info(1, CREATED), info(2, STARTED), which=RunFilter(status="CREATED"))
    assert stands(waiting, info(1, STARTED), info(1, FINISHED), None) == [[], [], []]
    waiting = board(info(1, CREATED), which=RunFilter(status="CREATED"))
    assert stands(waiting, info(1, FAILED), None) == [[FAILED], []]
    running = board(which=RunFilter(status="STARTED"))
    steps = info(1, CREATED), info(1, STARTED), info(1, FINISHED), info(1, FINISHED, tags=("late",)), None
    assert stands(running, *steps) == [[], [STARTED], [FINISHED], [FINISHED], []]
    tagged = board(info(1, STARTED, tags=("x",)), which=RunFilter(tag="x", status=["CREATED", "STARTED"]))
    assert stands(tagged, info(1, STARTED), info(1, FAILED), None) == [[], [], []]
    assert stands(tagged, info(1, STARTED, tags=("x",)), info(1, FAILED, tags=("x",)), info(1, FAILED)) == [
        [STARTED],
        [FAILED],
        [],
    ]


def test_keys_change_order_filter_and_what_is_found() -> None:
    shown = board(
        info(1, FINISHED, name="alpha"), info(2, CREATED, name="beta", tags=("x-ray",)), half(3, 5), half(4, 9)
    )
    for order, expected in (("created", [4, 3, 2, 1]), ("finished", [1, 2, 3, 4]), ("progress", [4, 3, 1, 2])):
        shown.press("s")
        assert (shown.order, seqs(shown)) == (order, expected)
    shown.press("r")
    assert seqs(shown) == [1, 2, 3, 4]
    shown.press("r")
    shown.press("s")
    assert seqs(shown) == [1, 2, 3, 4]
    for expected in ([2], [3, 4], [1], [], [], [1, 2, 3, 4]):
        shown.press("f")
        assert seqs(shown) == expected, shown.shown
    for key in "/X-RA":
        shown.press(key)
    shown.press("q")
    assert (shown.is_open, shown.find) == (True, "X-RAq")
    shown.press("backspace")
    shown.press("enter")
    assert seqs(shown) == [2]
    assert "find X-RA" in screen(shown)
    shown.press("esc")
    assert seqs(shown) == [1, 2, 3, 4]
    shown.press("q")
    assert not shown.is_open


def test_ten_thousand_runs_are_scrolled_and_never_past_their_ends() -> None:
    shown = board(*(info(seq, FINISHED) for seq in range(10_000)))
    assert "1-20 of 10,000" in screen(shown)
    for _ in range(3):
        shown.press("pgdn")
    assert "31-50 of 10,000" in screen(shown)
    for _ in range(9):
        shown.press("pgup")
    assert "1-20 of 10,000" in screen(shown)
    shown.first = 99_999
    assert "9981-10000 of 10,000" in screen(shown)
    assert "none match" in screen(board())


def test_no_text_of_a_run_steers_the_terminal() -> None:
    hostile = "a\x1b]0;title\x07\n\u202eb"
    text = screen(board(info(1, FAILED, name=hostile, details=hostile)))
    assert not {"\x1b", "\x07", "\u202e"} & set(text)


def test_the_next_to_start_is_the_first_of_those_that_wait_and_places_are_counted_anew() -> None:
    waiting = [info(seq, CREATED, queue_position=seq + 8) for seq in (2, 3, 5)]
    shown = board(info(1, STARTED), *waiting)
    assert seqs(shown) == [1, 2, 3, 5]
    text = screen(shown)
    assert "10 runs before it" not in text
    assert [int(found) for found in re.findall(r"(\d+) of your runs before it", text)] == [1, 2]
    shown.hear(Change(cursor=9, kind="status", run_id=f"{2:024x}", run=info(2, STARTED)))
    assert re.findall(r"(\d+) of your runs before it", screen(shown)) == ["1"]
    shown.press("f")
    shown.press("f")
    assert re.findall(r"(\d+) of your runs before it", screen(shown)) == [], "FINISHED" in screen(shown)
    shown.press("esc")
    shown.which = RunFilter(experiment_name="default")
    assert "before it" not in screen(shown), "others may wait that it does not hear of"
    shown.hear(Change(cursor=10, kind="changed", run_id=f"{5:024x}", run=info(5, CREATED, details="waits for a GPU")))
    assert "waits for a GPU" in screen(shown)


@pytest.mark.parametrize(
    ("width", "heads"),
    [
        (20, ["RUN", "STATUS"]),
        (40, ["RUN", "STATUS"]),
        (60, ["RUN", "STATUS", "DETAILS"]),
        (100, ["RUN", "STATUS", "TOOK", "CREATED", "DETAILS"]),
    ],
)
def test_a_narrow_terminal_has_whole_names_and_says_how_to_quit(width: int, heads: list[str]) -> None:
    name = "nightly-with-a-name-of-28-xs"
    shown = board(info(1, STARTED, name=name, details="x" * 200), *(info(seq, FINISHED) for seq in range(2, 40)))
    text = screen(shown, width=width)
    lines = text.splitlines()
    assert lines[1].split() == heads
    assert (name in text) is (width >= 40)
    assert name[:9] in text
    assert lines[-1].endswith("? keys · q quit")
    assert len(lines) == 24
    shown.press("?")
    explained = screen(shown, width=width)
    assert "Home End to the ends" in explained
    assert explained.rstrip().endswith("q quit")
    shown.press("?")
    shown.press("/")
    assert "find _" in screen(shown, width=width)


def test_columns_take_no_more_than_there_is_and_names_are_cut_last() -> None:
    natural = {"RUN": 60, "STATUS": 8, "": 12, "TOOK": 9, "CREATED": 10, "DETAILS": 90}
    for width in range(12, 300):
        found = fitted(natural, width)
        assert sum(found.values()) + GAP_CELLS * (len(found) - 1) <= width
        assert found["RUN"] >= 48 or list(found) == ["RUN", "STATUS"]
    assert fitted(natural, 300) == natural


def test_a_terminal_that_writes_ascii_alone_gets_ascii() -> None:
    shown = board(info(1, FAILED, name="é" * 40, details="it went wrong, and at length " * 9), half(2, 5))
    for _ in range(2):
        text = screen(shown, encoding="ascii", width=100)
        assert "\\u2026" not in text
        assert "..." in text
        assert "\\xe9" in text
        assert "q quit" in text
        shown.press("?")


def test_where_the_server_is_away_it_says_so_and_no_time_goes_on() -> None:
    shown = Board(host="http://host:1", is_heard=False)
    text = screen(shown)
    assert text.startswith("connecting to http://host:1")
    assert "0 runs" not in text
    assert "none match" not in text
    shown.away_s = 12.0
    assert "no answer from http://host:1 for 12 s, trying again" in screen(shown)
    shown = board(info(5, STARTED))
    assert "5 min 0 s" in screen(shown)
    shown.away_s = 60.0
    assert "no answer from  for 1 min 0 s, trying again" in screen(shown).replace(shown.host, "")
    assert "4 min 0 s" in screen(shown)
    shown.away_s = 0.4
    assert "no answer" not in screen(shown)


def test_keys_go_to_the_ends() -> None:
    shown = board(*(info(seq, FINISHED) for seq in range(100)))
    for key, place in (("end", "81-100 of 100"), ("home", "1-20 of 100"), ("G", "81-100 of 100"), ("g", "1-20 of 100")):
        shown.press(key)
        assert place in screen(shown)


def test_keys_are_told_apart() -> None:
    assert keys_of("q\x1b[A\x1b[6~\x1bOB/é\r\x7f\x1b") == [
        "q",
        "up",
        "pgdn",
        "down",
        "/",
        "é",
        "enter",
        "backspace",
        "esc",
    ]
    assert keys_of("\x1b[1;5C") == ["\x1b[1;5C"]
    assert keys_of("\x1b[H\x1bOH\x1b[1~\x1b[F\x1bOF\x1b[4~gG?") == ["home"] * 3 + ["end"] * 3 + ["g", "G", "?"]


def test_every_order_is_offered() -> None:
    assert tuple(ORDERS) == OFFERED


@pytest.mark.anyio
@pytest.mark.xdist_group("cli")
@pytest.mark.parametrize("ending", ["q", "ctrl-c"])
async def test_a_terminal_shows_runs_as_they_go_on(shell: Shell, ending: str) -> None:
    async with shell.client() as client:
        run = await shell.submit(client, f"wait-top-{ending}")

        def look() -> int:
            with shell.terminal("top", "--name-prefix", "wait-top", columns=120) as (process, keyboard):
                read_until(keyboard, f"wait-top-{ending}")
                read_until(keyboard, "STARTED 1")
                shell.release(run)
                read_until(keyboard, "FINISHED 1")
                os.write(keyboard, b"f")
                read_until(keyboard, "status CREATED")
                if ending == "q":
                    os.write(keyboard, b"q")
                else:
                    process.send_signal(signal.SIGINT)
                return process.wait(DEADLINE_S)

        assert await anyio.to_thread.run_sync(look) == 0
        await settled(run)
        await run.delete()


@pytest.mark.anyio
@pytest.mark.xdist_group("cli")
async def test_what_becomes_of_a_run_that_its_filter_no_longer_picks_is_shown(shell: Shell) -> None:
    async with shell.client() as client:
        run = await shell.submit(client, "wait-top-filtered", tags=["top-filtered"])
        arguments = ("top", "--status", "STARTED", "--tag", "top-filtered")
        with shell.terminal(*arguments, columns=120) as (process, keyboard):
            await anyio.to_thread.run_sync(read_until, keyboard, "STARTED 1")
            shell.release(run)
            await anyio.to_thread.run_sync(read_until, keyboard, "FINISHED 1")
            await settled(run)
            await run.delete()
            await anyio.to_thread.run_sync(read_until, keyboard, "0 runs")
            os.write(keyboard, b"q")
            assert await anyio.to_thread.run_sync(process.wait, DEADLINE_S) == 0


@pytest.mark.xdist_group("cli")
def test_a_misspelt_experiment_is_an_error_and_not_an_empty_screen(shell: Shell) -> None:
    with shell.terminal("top", "-e", "nope", columns=120) as (process, keyboard):
        read_until(keyboard, "no experiment 'nope'")
        assert process.wait(DEADLINE_S) == ExitCode.ERROR


@pytest.mark.xdist_group("cli")
def test_it_is_drawn_where_columns_is_0(shell: Shell) -> None:
    with shell.terminal("top", "--name-prefix", "no-such-run", columns=0) as (process, keyboard):
        read_until(keyboard, "none match")
        os.write(keyboard, b"q")
        assert process.wait(DEADLINE_S) == 0


@pytest.mark.xdist_group("cli")
def test_it_says_that_no_server_answers_until_it_is_ended(shell: Shell) -> None:
    with shell.terminal("--host", "http://127.0.0.1:9", "top", columns=120) as (process, keyboard):
        text = read_until(keyboard, "connecting to http://127.0.0.1:9")
        text += read_until(keyboard, "no answer from http://127.0.0.1:9 for ")
        assert "0 runs" not in text
        os.write(keyboard, b"q")
        assert process.wait(DEADLINE_S) == 0


@pytest.mark.anyio
@pytest.mark.xdist_group("cli")
async def test_it_says_that_the_server_is_gone_and_goes_on_once_it_is_back(shell: Shell) -> None:
    async with shell.client() as client, FaultProxy(client.host) as proxy:
        run = await shell.submit(client, "wait-top-away")
        named = attrs.evolve(shell, env={**shell.env, "FINETUNER_TOKEN": await client.get_token()})
        arguments = ("--host", proxy.url, "top", "--name-prefix", "wait-top-away")
        with named.terminal(*arguments, columns=120) as (process, keyboard):
            await anyio.to_thread.run_sync(read_until, keyboard, "STARTED 1")
            proxy.faults = lambda: Fault(is_bad_gateway=True)
            for task in proxy._tasks:
                task.cancel()
            await anyio.to_thread.run_sync(read_until, keyboard, f"no answer from {proxy.url} for ")
            shell.release(run)
            await settled(run)
            proxy.faults = Fault
            text = await anyio.to_thread.run_sync(read_until, keyboard, "FINISHED 1")
            assert "no answer" not in text.partition("FINISHED 1")[0].rpartition("\x1b[H")[2]
            os.write(keyboard, b"q")
            assert await anyio.to_thread.run_sync(process.wait, DEADLINE_S) == 0
        await run.delete()


@pytest.mark.xdist_group("cli")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_the_terminal_is_as_it_was(shell: Shell, number: signal.Signals) -> None:
    with shell.terminal("top", "--name-prefix", "no-such-run", columns=120) as (process, keyboard):
        before = termios.tcgetattr(keyboard)
        read_until(keyboard, "none match")
        assert termios.tcgetattr(keyboard) != before
        process.send_signal(number)
        read_until(keyboard, "\x1b[?1049l")
        assert process.wait(DEADLINE_S) == 128 + number
        assert termios.tcgetattr(keyboard) == before


def hang_up(keyboard: int) -> None:
    """Close a terminal, its number kept."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, keyboard)
    os.close(nothing)


DRAWING = "from finetuner.cli import main, top; top.REDRAW_S = 0.0; main.main()"
"""Draws until the terminal takes no more, and waits in the middle of a picture."""


@pytest.mark.xdist_group("cli")
@pytest.mark.parametrize("program", [("-m", "finetuner.cli"), ("-c", DRAWING)], ids=["waiting", "drawing"])
def test_it_ends_where_its_terminal_is_hung_up(shell: Shell, program: tuple[str, ...]) -> None:
    started = attrs.evolve(shell, program=(sys.executable, *program))
    with started.terminal("top", "--name-prefix", "no-such-run", columns=120) as (process, keyboard):
        read_until(keyboard, "none match")
        hang_up(keyboard)
        assert process.wait(DEADLINE_S) == 128 + signal.SIGHUP


PARENT = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
job = os.fork()
if not job:
    os.setpgid(0, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
signal.signal(signal.SIGHUP, signal.SIG_IGN)
while os.WIFSTOPPED(status := os.waitpid(job, os.WUNTRACED)[1]):
    os.write(1, b"%d stopped" % job)
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""Runs a command as a shell does, but for the terminal's settings, which a shell sets itself where its job stops."""


@contextlib.contextmanager
def suspended(shell: Shell) -> Iterator[tuple[subprocess.Popen[str], int, int, list[object]]]:
    """Give `top` once it was suspended: its parent, the terminal, its process id, the terminal's settings before it."""
    started = attrs.evolve(shell, program=(sys.executable, "-c", PARENT, *shell.program))
    with started.terminal("top", "--name-prefix", "no-such-run", columns=120, stderr=subprocess.PIPE) as given:
        process, keyboard = given
        before = termios.tcgetattr(keyboard)
        read_until(keyboard, "none match")
        assert termios.tcgetattr(keyboard) != before
        os.write(keyboard, b"\x1a")
        text = read_until(keyboard, "stopped")
        assert "\x1b[?1049l" in text
        job = re.search(r"(\d+) stopped", text)
        assert job is not None
        try:
            yield process, keyboard, int(job[1]), before
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(job[1]), signal.SIGKILL)


@pytest.mark.xdist_group("cli")
def test_ctrl_z_gives_the_terminal_back_and_what_goes_on_takes_it_again(shell: Shell) -> None:
    with suspended(shell) as (process, keyboard, job, before):
        assert termios.tcgetattr(keyboard) == before
        os.kill(job, signal.SIGCONT)
        assert "\x1b[?1049h" in read_until(keyboard, "none match")
        assert termios.tcgetattr(keyboard) != before
        os.write(keyboard, b"q")
        read_until(keyboard, "\x1b[?1049l")
        assert process.wait(DEADLINE_S) == 0
        assert termios.tcgetattr(keyboard) == before


@pytest.mark.xdist_group("cli")
def test_it_ends_where_its_terminal_is_hung_up_while_it_is_suspended(shell: Shell) -> None:
    with suspended(shell) as (process, keyboard, job, _):
        hang_up(keyboard)
        os.kill(job, signal.SIGCONT)
        assert process.communicate(timeout=DEADLINE_S)[1] == ""
        assert process.returncode == 128 + signal.SIGHUP


@pytest.mark.xdist_group("cli")
@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_terminal_that_cannot_be_drawn_on_is_refused(shell: Shell, term: str) -> None:
    with shell.terminal("top", term=term) as (process, keyboard):
        text = read_until(keyboard, "runs list")
        assert "top needs a terminal that can be drawn on" in text
        assert process.wait(DEADLINE_S) == ExitCode.USAGE


@pytest.mark.xdist_group("cli")
def test_without_a_terminal_it_says_what_to_use(shell: Shell) -> None:
    ended = shell("top")
    assert ended.returncode == ExitCode.USAGE
    assert "top needs a terminal; `finetuner runs list` prints the runs once" in ended.stderr


@pytest.mark.anyio
@pytest.mark.xdist_group("cli")
async def test_a_list_is_printed_as_csv(shell: Shell) -> None:
    async with shell.client() as client:
        run = await shell.submit(client, "measured-csv", tags=["one", "two, or 2"], description='says "so", and\nmore')
        await settled(run)
        told = await anyio.to_thread.run_sync(lambda: shell("runs", "list", "--csv", "--name-prefix", "measured-csv"))
        await run.delete()
    assert told.returncode == 0, told.stderr
    (row,) = csv.DictReader(io.StringIO(told.stdout, newline=""))
    assert (row["id"], row["status"], json.loads(row["tags"])) == (run.id, "FINISHED", ["one", "two, or 2"])
    assert row["description"] == 'says "so", and\nmore'
    assert any(name.startswith("after.") and float(value) == 0.5 for name, value in row.items())
    assert float(row["duration_s"]) >= 0
    refused = await anyio.to_thread.run_sync(lambda: shell("runs", "list", "--csv", "--json"))
    assert refused.returncode == ExitCode.USAGE
