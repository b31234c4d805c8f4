"""The old import path of `Run`."""

from finetuner.sync import Run

__all__ = ["Run"]
