"""The device that a job's models are put on."""

from __future__ import annotations

import torch

from finetuner.job.worker.report import Report


def usable_device(asked_for: str, report: Report, what: str) -> str:
    """Give the device asked for, or `cpu` where there is no CUDA, which the log then says.

    Args:
        asked_for: `cuda` or `cpu`.
        report: Where it is said.
        what: What is done on it, for the log.
    """
    if asked_for == "cuda" and not torch.cuda.is_available():
        report.say(f"there is no CUDA here: {what} on the CPU")
        return "cpu"
    return asked_for
