"""`finetuner runs metrics`, `examples` and `download`: what a run gave."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import aiohttp
import anyio
import attrs
import pytest

from finetuner.aio.run import AsyncRun
from finetuner.cli.exits import ExitCode
from tests.cli.conftest import Shell, settled
from tests.cli.job import HOSTILE

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("cli")]


@asynccontextmanager
async def _ended(shell: Shell, name: str) -> AsyncIterator[AsyncRun]:
    async with shell.client() as client:
        run = await shell.submit(client, name)
        await settled(run)
        yield run
        await run.delete()


async def test_metrics_and_examples_are_lines_elsewhere_and_tables_on_a_terminal(shell: Shell) -> None:
    async with _ended(shell, "measured"):
        metrics = await anyio.to_thread.run_sync(partial(shell, "runs", "metrics", "measured"))
        assert metrics.stdout == "METRIC\tBEFORE\tAFTER\nrecall_at_1\t0.25\t0.5\n", metrics.stderr
        examples = await anyio.to_thread.run_sync(partial(shell, "runs", "examples", "measured", "-k", "2"))
        rows = [line.split("\t") for line in examples.stdout.splitlines()]
        assert [row[0] for row in rows] == ["STAGE", "before", "before", "after", "after"]
        assert rows[1][2:] == ["1", "0.25", "yes", "before answer 0"]
        assert not set(examples.stdout) & set(HOSTILE) & {"\x1b", "\x07", "\x9b", "\u202e"}
        for command, expected in (
            ("metrics", r"recall_at_1 +0\.250 +0\.500 +\+0\.250"),
            ("examples", "after answer 1"),
        ):
            code, shown = await anyio.to_thread.run_sync(partial(shell.on_terminal, "runs", command, "measured"))
            assert code == 0
            assert re.search(expected, re.sub(r"\x1b\[[0-9;]*m", "", shown))
            assert "\x1b]0;owned" not in shown
        as_json = await anyio.to_thread.run_sync(partial(shell, "runs", "examples", "measured", "--json"))
        assert [len(json.loads(as_json.stdout)[stage][0]["results"]) for stage in ("before", "after")] == [3, 3]


async def test_a_run_without_them_says_so(shell: Shell) -> None:
    async with _ended(shell, "plain"):
        for command in ("metrics", "examples"):
            ended = await anyio.to_thread.run_sync(partial(shell, "runs", command, "plain"))
            assert (ended.returncode, ended.stdout) == (0, "")
            assert f"plain has no {command}" in ended.stderr


async def test_download_saves_the_artifact_and_replaces_nothing_unasked(shell: Shell) -> None:
    async with _ended(shell, "kept"):
        saved = await anyio.to_thread.run_sync(partial(shell, "runs", "download", "kept", "--directory", "saved"))
        assert (saved.returncode, saved.stdout) == (0, "saved/kept.zip\n"), saved.stderr
        path = shell.cwd / "saved/kept.zip"
        assert path.read_bytes() == b"an artifact"
        path.write_bytes(b"another file")
        refused = await anyio.to_thread.run_sync(partial(shell, "runs", "download", "kept", "--directory", "saved"))
        assert (refused.returncode, refused.stdout) == (ExitCode.ERROR, "")
        assert path.read_bytes() == b"another file"
        command = ("runs", "download", "kept", "--directory", "saved", "--overwrite")
        assert (await anyio.to_thread.run_sync(partial(shell, *command))).returncode == 0
        assert path.read_bytes() == b"an artifact"


async def test_a_run_that_failed_has_nothing_to_download(shell: Shell) -> None:
    async with _ended(shell, "fail-download"):
        ended = await anyio.to_thread.run_sync(partial(shell, "runs", "download", "fail-download"))
        assert (ended.returncode, ended.stdout) == (ExitCode.RUN_FAILED, "")
        assert re.fullmatch(r"Error: .*\n", ended.stderr)


async def test_open_gives_the_link_to_a_browser_or_to_whoever_asks(shell: Shell) -> None:
    async with _ended(shell, "opened") as run:
        browser = shell.cwd / "browser"
        browser.write_text(f'#!/bin/sh\necho "$1" > {shell.cwd}/visited\n')
        browser.chmod(0o755)
        with_browser = attrs.evolve(shell, env={**shell.env, "BROWSER": f"{browser} %s"})
        opened = await anyio.to_thread.run_sync(partial(with_browser, "runs", "open", "opened"))
        assert (opened.returncode, opened.stdout) == (0, ""), opened.stderr
        visited = (shell.cwd / "visited").read_text().strip()
        async with aiohttp.ClientSession() as session, session.get(visited) as page:
            assert page.status == 200
            assert f'content="0;url=/console/runs/{run.id}"' in await page.text()
        printed = await anyio.to_thread.run_sync(partial(shell, "runs", "open", "--no-browser"))
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/console/\S+\n", printed.stdout)
        assert printed.stdout.strip() != visited
