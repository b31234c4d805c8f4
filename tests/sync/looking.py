"""What processes of multiprocessing call: a function that they can import."""

from __future__ import annotations

import finetuner


def status_of(run_name: str) -> str:
    return finetuner.get_run(run_name).status().value


def wait_for(run_name: str) -> None:
    finetuner.get_run(run_name).wait(60)
