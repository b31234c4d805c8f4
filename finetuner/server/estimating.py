"""How long a run may take, as finished runs like it did."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any, Final

from finetuner.api.plan import Estimate
from finetuner.server.store.past import PastRun

_SIMILAR: Final = 2.0
"""A batch size is similar where neither is more than so many times the other."""


def of_training(config: dict[str, Any], steps: int, past: Iterable[PastRun]) -> Estimate | None:
    """Estimate a training from runs of the same model with a similar batch size: examples a second, and the rest.

    Args:
        config: Of the run that is planned.
        steps: That it would make.
        past: Finished trainings on the same device.
    """
    batch_size = config["hyper_parameters"]["batch_size"]
    speeds, rests = [], []
    for run in past:
        done, size = run.progress, run.config["hyper_parameters"]["batch_size"]
        is_alike = _model(run.config) == _model(config) and max(size, batch_size) <= _SIMILAR * min(size, batch_size)
        if is_alike and done.get("examples_per_s") and done.get("steps"):
            speeds.append(done["examples_per_s"])
            rests.append(max(run.seconds - done["steps"] * size / done["examples_per_s"], 0.0))
    if not speeds:
        return None
    seconds = steps * batch_size / statistics.median(speeds) + statistics.median(rests)
    return Estimate(seconds=round(seconds, 1), runs=len(speeds))


def _model(config: dict[str, Any]) -> tuple[Any, ...]:
    model = config["model"]
    # A model tuned further is as fast as the one that it was.
    return model["name"], model["freeze"], model["options"].get("max_seq_length")


def is_alike(config: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two syntheses work with the same models."""
    return bool(config["models"] == other["models"])


def of_synthesis(texts: int, past: Sequence[tuple[int, float]]) -> Estimate | None:
    """Estimate a synthesis from others with the same models.

    Args:
        texts: Queries and texts of the corpus.
        past: Of each finished one its texts and its seconds.
    """
    if not past:
        return None
    pace = statistics.median(seconds / count for count, seconds in past)
    return Estimate(seconds=round(texts * pace, 1), runs=len(past))
