"""`finetuner demo`, as a real process: once with the real model, else with a job that needs no torch."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import anyio
import pytest

from finetuner.cli import demo_tour
from finetuner.cli.demo_tour import Tour
from finetuner.cli.exits import ExitCode
from finetuner.errors import MissingExtra
from tests.cli.conftest import DEADLINE_S, Shell, environment, settled

TRAINING_DEADLINE_S = 900
"""Ends a test that hangs; on a busy machine a training of two steps may take minutes."""


@pytest.mark.train
@pytest.mark.timeout(3 * TRAINING_DEADLINE_S)
def test_it_leads_from_data_to_answers_and_its_script_does_the_same(tmp_path: Path) -> None:
    shell = Shell(env=environment(tmp_path), cwd=tmp_path, state=tmp_path / "state")
    try:
        ended = shell("demo", "--steps", "2", "--run-name", "small", deadline_s=TRAINING_DEADLINE_S)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        steps = re.findall(r"^(\d)  (\w+)", ended.stdout, re.MULTILINE)
        assert [int(number) for number, _ in steps] == list(range(1, len(steps) + 1))
        assert re.search(r"first answer right \(recall@1\) +[\d.]+ +[\d.]+ +[+-]", ended.stdout)
        assert not re.search(r"[ \x1b]$", ended.stdout, re.MULTILINE)
        assert "(c) " in (tmp_path / "finetuner-demo/LICENSE-MITRE-ATTACK.txt").read_text()
        assert (tmp_path / "finetuner-demo/small.zip").stat().st_size > 10_000_000
        _shorten(tmp_path / "finetuner-demo")
        for script in ("demo_sync.py", "demo_async.py"):
            said = _python(shell, script, tmp_path / "finetuner-demo")
            assert re.search(r"^the malware deletes .* -> \w", said, re.MULTILINE)
    finally:
        shell.stop_server()


def _shorten(folder: Path) -> None:
    """Leave one batch of training data, and few queries, for scripts that only have to run."""
    for name, rows in (("train.csv", 65), ("queries.csv", 21)):
        lines = (folder / name).read_text(encoding="utf-8").splitlines(keepends=True)
        (folder / name).write_text("".join(lines[:rows]), encoding="utf-8")


def _python(shell: Shell, script: str, folder: Path) -> str:
    ended = subprocess.run(
        [sys.executable, script],
        cwd=folder,
        env=shell.env,
        capture_output=True,
        text=True,
        check=False,
        timeout=TRAINING_DEADLINE_S,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.anyio
@pytest.mark.xdist_group("cli")
async def test_ctrl_c_leaves_the_run_and_says_how_to_go_on(shell: Shell) -> None:
    process = shell.start("demo", "--run-name", "wait-demo", "--steps", "1")
    assert process.stdout is not None
    while line := await anyio.to_thread.run_sync(process.stdout.readline):
        if line == "   this is wait-demo\n":
            break
    process.send_signal(signal.SIGINT)
    _, said = await anyio.to_thread.run_sync(partial(process.communicate, timeout=DEADLINE_S))
    assert process.returncode == ExitCode.INTERRUPTED
    assert "the run wait-demo goes on" in said
    assert "finetuner runs logs -f wait-demo" in said
    assert "finetuner runs cancel wait-demo" in said
    assert "Traceback" not in said
    async with shell.client() as client:
        run = await client.get_run("wait-demo")
        assert run.info.status == "STARTED"
        await run.cancel()
        await settled(run)


@pytest.mark.xdist_group("cli")
def test_it_gives_up_in_time(shell: Shell) -> None:
    ended = shell("demo", "--run-name", "wait-late", "--steps", "1", "--timeout-s", "0.5")
    assert ended.returncode == ExitCode.TIMEOUT, ended.stderr
    assert "finetuner runs logs -f wait-late" in ended.stderr
    assert shell("runs", "cancel", "wait-late").returncode == 0


@pytest.mark.xdist_group("cli")
def test_a_run_that_fails_fails_the_demo(shell: Shell) -> None:
    ended = shell("demo", "--run-name", "fail-demo", "--steps", "1")
    assert ended.returncode == ExitCode.RUN_FAILED, ended.stderr
    assert "it went wrong" in ended.stdout
    assert ended.stderr.startswith("Error: run 'fail-demo' failed")
    again = shell("demo", "--run-name", "fail-demo", "--steps", "1")
    assert (again.returncode, again.stderr.count("\n")) == (ExitCode.ERROR, 1)
    assert "fail-demo" in again.stderr


@pytest.mark.xdist_group("cli")
def test_a_reader_that_leaves_ends_it_silently(shell: Shell) -> None:
    process = shell.start("demo", "--run-name", "left-demo", "--steps", "1")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(DEADLINE_S) == ExitCode.PIPE_CLOSED
    process.stderr.close()


def test_a_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo_tour, "PACKAGES", ("click", "not_installed_here"))
    tour = Tour(directory=tmp_path / "demo", run_name=None, steps=1, seed=0, timeout_s=1, host=None)
    with pytest.raises(MissingExtra, match=r'not_installed_here.*pip install "finetuner\[local,demo\]"'):
        tour.prepare()
    assert not tour.directory.exists()
