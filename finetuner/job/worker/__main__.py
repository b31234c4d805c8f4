"""Start the worker: watch the lifeline first, and only then import what takes seconds."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from finetuner.job.worker import lifeline
from finetuner.job.worker.report import Report
from finetuner.job.worker.standby import Waiting

STANDBY = "--standby"

SETTINGS = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_VERBOSITY": "error",
    "PYTHONWARNINGS": "ignore",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}
"""What keeps libraries' bars and notes out of a run's log."""


def main() -> int:
    """Run the job of a run directory; the exit code is 0 where it left an artifact."""
    if len(sys.argv) != 2:
        print("usage: python -m finetuner.job.worker RUN_DIR", file=sys.stderr)  # noqa: T201 - a usage message
        return 2
    lifeline.hold()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    if sys.argv[1] == STANDBY:
        return _wait()
    with Report.from_environment() as report:
        report.progress(phase="loading")
        report.say("loading the libraries")
        from finetuner.job.worker.work import run  # noqa: PLC0415 - imports torch; the lifeline is held by now

        return run(Path(sys.argv[1]), report)


def _wait() -> int:
    """Load the libraries, wait for a run, do it; without one it is over."""
    report = Report.from_environment()

    def early() -> None:
        report.progress(phase="loading")
        report.say("loading the libraries, as a worker had begun to before there was this run")

    waiting = Waiting(early)
    from finetuner.job.worker.work import run  # noqa: PLC0415 - imports torch; the lifeline is held by now

    if (run_dir := waiting.run_dir()) is None:
        return 0
    sys.argv[1] = str(run_dir)
    with report:
        report.progress(phase="loading")
        if not waiting.was_early:
            report.say("the libraries were loaded already: a worker waited for this run")
        return run(run_dir, report)


if __name__ == "__main__":
    sys.exit(main())
