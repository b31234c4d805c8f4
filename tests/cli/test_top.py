"""`finetuner top`: the board by itself, and the command on a real terminal against a real service."""

from __future__ import annotations

import csv
import datetime as dt
import io
import os
import signal

import anyio
import attrs
import pytest
from rich.console import Console

from finetuner.api.types import Change, Progress, RunInfo, RunStatus
from finetuner.cli.exits import ExitCode
from finetuner.cli.top import ORDERS as OFFERED
from finetuner.cli.top import keys_of
from finetuner.cli.topview import ORDERS, Board
from tests.cli.conftest import DEADLINE_S, Shell, read_until, settled

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


def board(*infos: RunInfo) -> Board:
    made = Board()
    for cursor, one in enumerate(infos):
        made.hear(Change(cursor=cursor, kind="snapshot", run_id=one.id, run=one))
    return made


def seqs(shown: Board) -> list[int]:
    return [one.seq for one in shown.picked()]


def screen(shown: Board, height: int = 24, width: int = 120) -> str:
    told = io.StringIO()
    Console(file=told, width=width, height=height, force_terminal=False).print(shown.picture(height, NOW))
    return told.getvalue()


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


@pytest.mark.xdist_group("cli")
def test_a_misspelt_experiment_is_an_error_and_not_an_empty_screen(shell: Shell) -> None:
    with shell.terminal("top", "-e", "nope", columns=120) as (process, keyboard):
        read_until(keyboard, "no experiment 'nope'")
        assert process.wait(DEADLINE_S) == ExitCode.ERROR


@pytest.mark.xdist_group("cli")
def test_without_a_terminal_it_says_what_to_use(shell: Shell) -> None:
    ended = shell("top")
    assert ended.returncode == ExitCode.USAGE
    assert "top needs a terminal; `finetuner runs list` prints the runs once" in ended.stderr


@pytest.mark.anyio
@pytest.mark.xdist_group("cli")
async def test_a_list_is_printed_as_csv(shell: Shell) -> None:
    async with shell.client() as client:
        run = await shell.submit(client, "measured-csv", tags=["one", "two"], description='says "so", and\nmore')
        await settled(run)
        told = await anyio.to_thread.run_sync(lambda: shell("runs", "list", "--csv", "--name-prefix", "measured-csv"))
        await run.delete()
    assert told.returncode == 0, told.stderr
    (row,) = csv.DictReader(io.StringIO(told.stdout, newline=""))
    assert (row["id"], row["status"], row["tags"]) == (run.id, "FINISHED", "one two")
    assert row["description"] == 'says "so", and\nmore'
    assert any(name.startswith("after.") and float(value) == 0.5 for name, value in row.items())
    assert float(row["duration_s"]) >= 0
    refused = await anyio.to_thread.run_sync(lambda: shell("runs", "list", "--csv", "--json"))
    assert refused.returncode == ExitCode.USAGE
