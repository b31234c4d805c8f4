"""A tiny model for all tests of the worker, and the worker run in this process: importing torch anew takes seconds."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.models_support import WorkerRun, make_tiny_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def work(capfd: pytest.CaptureFixture[str]) -> Callable[[Path], WorkerRun]:
    """Do the job of a run directory in this process."""

    def run_here(run_dir: Path) -> WorkerRun:
        from finetuner.job.worker.report import Report
        from finetuner.job.worker.work import run

        capfd.readouterr()
        with tempfile.TemporaryFile() as events:
            with Report(os.dup(events.fileno())) as report:
                returncode = run(run_dir, report)
            events.seek(0)
            lines = [json.loads(line) for line in events]
        return WorkerRun(returncode=returncode, log=capfd.readouterr().out, events=lines, run_dir=run_dir)

    return run_here
