"""The old import path of `Experiment`."""

from finetuner.sync import Experiment

__all__ = ["Experiment"]
