"""`finetuner runs`, as real processes against a real service."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import attrs
import pytest

from finetuner.aio.client import AsyncClient
from finetuner.aio.run import AsyncRun
from finetuner.cli.exits import ExitCode
from tests.cli.conftest import DEADLINE_S, Shell, settled
from tests.cli.job import HOSTILE

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("cli")]


@asynccontextmanager
async def _ended(shell: Shell, name: str, **options: str | list[str]) -> AsyncIterator[AsyncRun]:
    async with shell.client() as client:
        run = await shell.submit(client, name, **options)
        await settled(run)
        yield run
        await run.delete()


@asynccontextmanager
async def _waiting(shell: Shell, name: str) -> AsyncIterator[tuple[AsyncClient, AsyncRun]]:
    async with shell.client() as client:
        run = await shell.submit(client, name)
        yield client, run
        await run.cancel()
        await settled(run)


async def _shell(shell: Shell, *arguments: str) -> subprocess.CompletedProcess[str]:
    return await anyio.to_thread.run_sync(lambda: shell(*arguments))


async def test_list_gives_tabs_where_nobody_looks_and_json_where_asked(shell: Shell) -> None:
    async with _ended(shell, "short", tags=["one"], experiment_name="other") as run:
        listed = await _shell(shell, "runs", "list", "--name-prefix", "short")
        assert listed.returncode == 0, listed.stderr
        header, row = (line.split("\t") for line in listed.stdout.splitlines())
        assert header == ["RUN", "STATUS", "CREATED", "TOOK", "DETAILS"]
        assert row[:2] == ["other/short", "FINISHED"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", row[2])
        as_json = await _shell(shell, "runs", "list", "--json", "--tag", "one", "-e", "other", "--status", "finished")
        assert [one["id"] for one in json.loads(as_json.stdout)] == [run.id]
        none = await _shell(shell, "runs", "list", "--json", "--status", "FAILED", "--name-prefix", "short")
        assert json.loads(none.stdout) == []


async def test_list_is_a_table_on_a_terminal(shell: Shell) -> None:
    async with _ended(shell, "table"):
        code, shown = await anyio.to_thread.run_sync(lambda: shell.on_terminal("runs", "list", "--limit", "1"))
        assert code == 0
        lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in shown.splitlines()]
        assert max(map(len, lines)) <= 80
        assert re.search(r"^table +FINISHED +(just now|\d+ s ago) ", "\n".join(lines), re.MULTILINE)


async def test_show_tells_a_run_by_name_by_experiment_and_by_id(shell: Shell) -> None:
    async with _ended(shell, "shown", experiment_name="other") as run:
        for arguments in (["other/shown"], ["shown", "-e", "other"], [run.id]):
            shown = await _shell(shell, "runs", "show", *arguments)
            assert shown.returncode == 0, shown.stderr
            assert shown.stdout.startswith("other/shown  FINISHED\n")
            assert "hyper_parameters.loss  TripletMarginLoss" in shown.stdout
        as_json = json.loads((await _shell(shell, "runs", "show", run.id, "--json")).stdout)
        assert (as_json["id"], as_json["config"]["model"]["name"]) == (run.id, "all-minilm-l6-v2")


async def test_show_says_why_a_run_failed(shell: Shell) -> None:
    async with _ended(shell, "fail-shown"):
        shown = await _shell(shell, "runs", "show", "fail-shown")
        assert shown.returncode == 0, shown.stderr
        assert "FAILED" in shown.stdout
        assert "  it went wrong" in shown.stdout


async def test_a_wrong_name_is_one_line_with_a_near_name(shell: Shell) -> None:
    async with _ended(shell, "vigilant"):
        missing = await _shell(shell, "runs", "show", "vigilent")
    assert (missing.returncode, missing.stdout) == (ExitCode.ERROR, "")
    assert missing.stderr.startswith("Error: ")
    assert missing.stderr.count("\n") == 1
    assert "vigilant" in missing.stderr


@pytest.mark.parametrize(
    "arguments",
    [["runs", "show"], ["runs", "show", "no spaces"], ["runs", "shw"], ["rnus"], ["runs", "logs", "x", "--after", "3"]],
)
async def test_a_wrong_command_is_refused_in_one_line(shell: Shell, arguments: list[str]) -> None:
    refused = await _shell(shell, *arguments)
    assert (refused.returncode, refused.stdout) == (ExitCode.USAGE, "")
    assert re.fullmatch(r"Error: .*\n", refused.stderr)


async def test_wait_tells_each_run_and_fails_when_one_did(shell: Shell) -> None:
    async with _ended(shell, "good"), _ended(shell, "fail-waited"):
        good = await _shell(shell, "runs", "wait", "good")
        assert (good.returncode, good.stdout.split(":")[0].strip()) == (ExitCode.OK, "good FINISHED")
        both = await _shell(shell, "runs", "wait", "good", "fail-waited", "--json")
        assert both.returncode == ExitCode.RUN_FAILED, both.stderr
        told = {one["name"]: one["status"] for one in map(json.loads, both.stdout.splitlines())}
        assert told == {"good": "FINISHED", "fail-waited": "FAILED"}


async def test_wait_gives_up_in_time_and_leaves_the_run(shell: Shell) -> None:
    async with _waiting(shell, "wait-long") as (_, run):
        late = await _shell(shell, "runs", "wait", "wait-long", "--timeout-s", "0.2")
        assert late.returncode == ExitCode.TIMEOUT, late.stderr
        assert await run.status() in {"CREATED", "STARTED"}


async def test_logs_are_printed_as_they_are(shell: Shell) -> None:
    async with _ended(shell, "hostile-log"):
        printed = await _shell(shell, "runs", "logs", "hostile-log")
        assert printed.stdout == f"this is hostile-log\ntab\there {HOSTILE}\ndone\n"
        followed = await _shell(shell, "runs", "logs", "-f", "hostile-log")
        assert (followed.returncode, followed.stdout) == (0, printed.stdout)
        tail = await _shell(shell, "runs", "logs", "-n", "1", "hostile-log")
        assert tail.stdout == "done\n"
        found = await _shell(shell, "runs", "logs", "--contains", "this", "hostile-log")
        assert found.stdout == "this is hostile-log\n"
        later = await _shell(shell, "runs", "logs", "-f", "--after", str(len("this is hostile-log\n")), "hostile-log")
        assert later.stdout == printed.stdout.split("\n", 1)[1]


async def test_a_terminal_gets_no_escape_of_a_job(shell: Shell) -> None:
    async with _ended(shell, "hostile-shown"):
        for arguments in (["-f"], []):
            command = ("runs", "logs", "hostile-shown", *arguments)
            code, shown = await anyio.to_thread.run_sync(partial(shell.on_terminal, *command))
            assert code == 0
            assert "tab\there \\x1b[2J\\x1b]0;owned\\x07\\u202etxt.exe\\x9b31m" in shown
            assert not set(shown) & {"\x1b", "\x07", "\x9b", "\u202e"}


async def test_ctrl_c_ends_following_at_once_and_leaves_the_run(shell: Shell) -> None:
    async with _waiting(shell, "wait-followed") as (_, run):
        process = shell.start("runs", "logs", "-f", "wait-followed")
        assert process.stdout is not None
        first = await anyio.to_thread.run_sync(process.stdout.readline)
        process.send_signal(signal.SIGINT)
        _, said = await anyio.to_thread.run_sync(lambda: process.communicate(timeout=DEADLINE_S))
        assert first == "this is wait-followed\n"
        assert process.returncode == ExitCode.INTERRUPTED
        assert f"finetuner runs logs -f wait-followed --after {len(first)}" in said
        assert "finetuner runs cancel wait-followed" in said
        assert "Traceback" not in said
        assert await run.status() == "STARTED"


async def test_a_reader_that_leaves_ends_it_silently(shell: Shell) -> None:
    async with _ended(shell, "long"):
        for arguments in (["-f"], []):
            process = shell.start("runs", "logs", "long", *arguments)
            assert process.stdout is not None
            assert await anyio.to_thread.run_sync(process.stdout.readline) == "this is long\n"
            process.stdout.close()
            assert process.stderr is not None
            assert await anyio.to_thread.run_sync(process.stderr.read) == ""
            assert await anyio.to_thread.run_sync(process.wait, DEADLINE_S) == ExitCode.PIPE_CLOSED
            process.stderr.close()


@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="a pipe's size is set on Linux alone")
@pytest.mark.parametrize("unbuffered", ["", "1"])
async def test_a_reader_that_leaves_a_result_ends_it_in_every_form(shell: Shell, unbuffered: str) -> None:
    written = attrs.evolve(shell, env={**shell.env, "PYTHONUNBUFFERED": unbuffered})

    def left(*arguments: str) -> int:
        ours, theirs = os.pipe()
        fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096)
        with written.start("runs", *arguments, stdout=theirs) as process:
            os.close(theirs)
            told = b""
            while b"xx" not in told:  # then it is writing more than the pipe has room for
                told += os.read(ours, 16) or pytest.fail(f"it wrote no more than {told!r}")
            os.close(ours)
            process.communicate(timeout=DEADLINE_S)
        return process.returncode

    async with _ended(shell, "left", description="x" * 10_000):
        for arguments in (("list", "--json"), ("list", "--csv"), ("show", "left"), ("show", "left", "--json")):
            assert await anyio.to_thread.run_sync(left, *arguments) == ExitCode.PIPE_CLOSED, arguments


async def test_cancel_stops_a_run_and_leaves_one_that_ended(shell: Shell) -> None:
    async with shell.client() as client:
        run = await shell.submit(client, "wait-cancelled")
        cancelled = await _shell(shell, "runs", "cancel", "wait-cancelled")
        assert cancelled.returncode == 0, cancelled.stderr
        await settled(run)
        assert await run.status() == "FAILED"
        again = await _shell(shell, "runs", "cancel", "wait-cancelled")
        assert (again.returncode, "it had ended already" in again.stderr) == (0, True)


async def test_delete_asks_and_then_deletes(shell: Shell) -> None:
    async with shell.client() as client:
        run = await shell.submit(client, "deleted")
        await settled(run)
        refused = await _shell(shell, "runs", "delete", "deleted")
        assert (refused.returncode, "--yes" in refused.stderr) == (ExitCode.USAGE, True)
        deleted = await _shell(shell, "runs", "delete", "deleted", "--yes")
        assert deleted.returncode == 0, deleted.stderr
        missing = await _shell(shell, "runs", "show", "deleted")
        assert missing.returncode == ExitCode.ERROR


async def test_a_metric_that_no_run_has_is_told(shell: Shell) -> None:
    async with shell.client() as client:
        run = await client.fit(
            "all-minilm-l6-v2", [("a", "b"), ("c", "d")], run_name="measured-spelling", progress=False
        )
        await settled(run)

    def listed(*arguments: str) -> tuple[str, str]:
        ended = shell.inside("runs", "list", "--name-prefix", "measured-spelling", *arguments)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout, ended.stderr

    def told() -> None:
        for flags in ([], ["--json"]):
            out, err = listed("--metric", "after.recal_at_1>0", *flags)
            assert "measured-spelling" not in out
            assert "the metric 'after.recal_at_1'. Near: 'after.recall_at_1'" in err
        out, err = listed("--metric", "after.recall_at_1>0.9")
        assert ("measured-spelling" in out, err) == (False, "")
        out, err = listed("--sort", "-after.recal_at_1")
        assert "measured-spelling" in out
        assert "Near: 'after.recall_at_1'" in err
        out, err = listed("--sort", "-after.recall_at_1")
        assert ("measured-spelling" in out, err) == (True, "")

    await anyio.to_thread.run_sync(told)
