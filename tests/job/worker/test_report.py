from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from finetuner.errors import Failure
from finetuner.job.worker.report import Report

ROOT = Path(__file__).parents[3]


@pytest.fixture
def pipe() -> Iterator[tuple[int, BinaryIO]]:
    read, write = os.pipe()
    with os.fdopen(read, "rb") as stream:
        yield write, stream
    os.close(write)


def test_events_are_lines_of_json(pipe: tuple[int, BinaryIO]) -> None:
    write, stream = pipe
    report = Report(write)
    report.metrics("before", {"recall_at_1": 0.5})
    report.failure(Failure(type="OutOfMemory", message="no room", hint="smaller"))
    report.examples("after", [{"query": {"text": "ü\n"}, "results": []}])
    metrics, failure, examples = (json.loads(stream.readline()) for _ in range(3))
    assert metrics.pop("t") <= failure.pop("t") <= examples.pop("t")
    assert metrics == {"kind": "metrics", "stage": "before", "values": {"recall_at_1": 0.5}}
    assert failure == {
        "kind": "failure",
        "type": "OutOfMemory",
        "message": "no room",
        "hint": "smaller",
        "traceback": None,
    }
    assert examples["values"] == [{"query": {"text": "ü\n"}, "results": []}]


def test_the_newest_progress_is_told_again_while_nothing_else_is(pipe: tuple[int, BinaryIO]) -> None:
    write, stream = pipe
    with Report(write) as report:
        report.progress(phase="training", step=1, steps=3)
        report.progress(phase="training", step=2, steps=3)
        seen = [json.loads(stream.readline()) for _ in range(3)]
    assert [one["step"] for one in seen] == [1, 2, 2]


def test_a_new_phase_and_the_last_step_are_never_merged_away(pipe: tuple[int, BinaryIO]) -> None:
    write, stream = pipe
    report = Report(write)
    for step in range(1, 101):
        report.progress(phase="training", step=step, steps=100, is_kept=step == 100)
    report.progress(phase="saving")
    seen = [json.loads(stream.readline())]
    while seen[-1]["phase"] != "saving":
        seen.append(json.loads(stream.readline()))
    assert (seen[0]["step"], seen[-2]["step"]) == (1, 100)
    assert len(seen) < 100


def test_a_supervisor_that_is_gone_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    Report(write).metrics("before", {})
    os.close(write)


def test_a_line_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Report(None).say("one\ntwo")
    assert capsys.readouterr().out == "one two\n"


def test_the_worker_dies_with_its_children_when_the_lifeline_breaks() -> None:
    read, write = os.pipe()
    script = (
        "import subprocess, sys\nfrom finetuner.job.worker import lifeline\nlifeline.hold().join(0)\n"
        "child = subprocess.Popen(['sleep', '600'])\nprint('ready', flush=True)\nchild.wait()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "FINETUNER_LIFELINE_FD": str(read), "PYTHONPATH": str(ROOT)},
        pass_fds=(read,),
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    os.close(read)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    os.close(write)
    assert process.wait() == -signal.SIGKILL
    assert process.stdout.read() == b"", "the child held the pipe's other end, and is gone"


def test_the_lifeline_is_watched_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(write)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "finetuner.job.worker", str(tmp_path)],
        env={**os.environ, "FINETUNER_LIFELINE_FD": str(read), "PYTHONPATH": str(ROOT)},
        pass_fds=(read,),
        capture_output=True,
        check=False,
        start_new_session=True,
    )
    os.close(read)
    assert done.returncode == -signal.SIGKILL
    assert b"sentence_transformers\n" not in done.stderr


def test_a_call_without_a_run_directory_says_how_to_call() -> None:
    command = [sys.executable, "-m", "finetuner.job.worker"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (2, "usage: python -m finetuner.job.worker RUN_DIR\n")
