"""`finetuner demo`, as a real process: once with the real model, else with a job that needs no torch."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
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
@pytest.mark.counted
@pytest.mark.timeout(6 * TRAINING_DEADLINE_S)
def test_it_leads_from_data_to_answers_and_its_scripts_do_the_same(
    tmp_path: Path, scaled: Callable[[int], int]
) -> None:
    """In full: 40 steps for each of three seeds, and what the README promises of the gain."""
    shell = Shell(env=environment(tmp_path), cwd=tmp_path, state=tmp_path / "state")
    steps = scaled(40)
    try:
        for seed in range(scaled(3)):
            folder = tmp_path / f"seed-{seed}"
            gained = _demo(shell, folder, seed=seed, steps=steps)
            if steps == 40:
                assert gained["names"] >= 25
                assert gained["over the stronger baseline"] > 0
        _shorten(tmp_path / "seed-0")
        for script in ("demo_sync.py", "demo_async.py"):
            said = _python(shell, script, tmp_path / "seed-0")
            assert re.search(r"^the malware deletes .* -> \w", said, re.MULTILINE)
    finally:
        shell.stop_server()


def _demo(shell: Shell, folder: Path, *, seed: int, steps: int) -> dict[str, float]:
    """Run the demo as a user does, and give its gains of recall@1 in points."""
    name = folder.name
    ended = shell(
        "demo",
        *("--steps", str(steps), "--seed", str(seed), "--run-name", name, "--directory", str(folder), "--json"),
        deadline_s=TRAINING_DEADLINE_S,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = ended.stderr
    titles = re.findall(r"^(\d)  (\w+)", told, re.MULTILINE)
    assert [int(number) for number, _ in titles] == list(range(1, len(titles) + 1))
    assert re.search(r"first answer right \(recall@1\) +[\d.]+ +[\d.]+ +[+-]", told)
    assert not re.search(r"[ \x1b]$", told, re.MULTILINE)
    assert "(c) " in (folder / "LICENSE-MITRE-ATTACK.txt").read_text()
    said = json.loads(ended.stdout)
    assert (said["directory"], said["path"]) == (str(folder), str(folder / f"{name}.zip"))
    assert Path(said["path"]).stat().st_size > 10_000_000
    run = said["run"]
    before, after = (run["metrics"][stage] for stage in ("before", "after"))
    trained = re.search(r"^.*trained \d+ steps in .*$", told, re.MULTILINE)
    print(f"seed {seed}: {trained and trained[0].strip()}; recall@1 before {_recalls(before)}, after {_recalls(after)}")
    best = max(value for key, value in before.items() if key.endswith("recall_at_1"))
    names = _recall(after, "names")
    return {"names": 100 * (names - _recall(before, "names")), "over the stronger baseline": 100 * (names - best)}


def _recall(metrics: dict[str, float], caption: str) -> float:
    """Give a callback's recall@1; the first callback's values have no caption."""
    return metrics.get(f"{caption}/recall_at_1", metrics.get("recall_at_1", 0.0))


def _recalls(metrics: dict[str, float]) -> dict[str, float]:
    return {key: round(value, 3) for key, value in metrics.items() if key.endswith("recall_at_1")}


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
