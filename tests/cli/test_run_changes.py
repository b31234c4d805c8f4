"""Plans, runs made again and tags changed, as real processes against a real service."""

from __future__ import annotations

import json
import subprocess

import anyio
import pytest

from finetuner.cli.exits import ExitCode
from tests.cli.conftest import DEADLINE_S, Shell

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("cli")]


async def _ran(shell: Shell, *arguments: str) -> subprocess.CompletedProcess[str]:
    def run() -> subprocess.CompletedProcess[str]:
        with shell.start(*arguments) as process:
            out, err = process.communicate(timeout=DEADLINE_S)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    return await anyio.to_thread.run_sync(run)


async def test_a_run_is_planned_made_again_and_tagged(shell: Shell) -> None:
    (shell.cwd / "pairs.csv").write_text("a sentence,a name\nanother one,another name\n")
    fit = ("fit", "--model", "all-minilm-l6-v2", "--train-data", "pairs.csv", "--run-name", "changed-later")
    plan = await _ran(shell, *fit, "--dry-run")
    assert plan.returncode == 0, plan.stderr
    assert "5 in 5 epochs" in plan.stdout
    refused = await _ran(shell, *fit, "--dry-run", "--wait")
    assert refused.returncode == ExitCode.USAGE
    async with shell.client() as client:
        assert await client.list_runs(name_prefix="changed-later") == []
    assert (await _ran(shell, *fit, "--wait")).returncode == 0
    planned = await _ran(shell, "runs", "rerun", "changed-later", "--set", "epochs=3", "--dry-run", "--json")
    assert json.loads(planned.stdout)["steps"] == 3
    again = await _ran(shell, "runs", "rerun", "changed-later", "--set", "epochs=3", "--run-name", "made-again")
    assert again.stdout == "made-again\n", again.stderr
    edited = await _ran(shell, "runs", "edit", "made-again", "--tag", "best", "--description", "kept", "--json")
    assert json.loads(edited.stdout)["tags"] == ["best"], edited.stderr
    wrong = await _ran(shell, "runs", "rerun", "made-again", "--set", "epoch=3")
    assert wrong.returncode != 0
    assert "'epochs'" in wrong.stderr
    async with shell.client() as client:
        for run in await client.list_runs():
            await run.delete()
