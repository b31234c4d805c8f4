"""The steps of a plan are those that the trainer then makes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from finetuner.api.plan import steps_per_epoch
from finetuner.counts import examples
from tests.models_support import WorkerRun, labelled_rows, write_spec

LABELLED = [*labelled_rows(29), ("the only one", "of its kind")]
PAIRS = [(text, f"the {label}") for text, label in labelled_rows(23)]
TRIPLETS = [(*row, "the a") for row in PAIRS]
SCORED = [(*row, 0.5) for row in PAIRS]


@pytest.mark.train
@pytest.mark.parametrize(
    ("rows", "loss", "batch_size", "data", "is_labelled"),
    [
        (PAIRS, "MultipleNegativesRankingLoss", 8, {}, False),
        (PAIRS, "MultipleNegativesRankingLoss", 23, {"val_split": 0.3}, False),
        (PAIRS, "TripletMarginLoss", 6, {"sampler": "class", "num_items_per_class": 2}, False),
        (TRIPLETS, "MultipleNegativesRankingLoss", 1, {"val_split": 0.5}, False),
        (SCORED, "CosineSimilarityLoss", 5, {}, False),
        (LABELLED, "MultipleNegativesRankingLoss", 4, {}, True),
        (LABELLED, "MultipleNegativesRankingLoss", 7, {"val_split": 0.2}, True),
        (LABELLED, "TripletMarginLoss", 9, {"val_split": 0.1}, True),
        (LABELLED, "TripletMarginLoss", 64, {"sampler": "random"}, True),
        (LABELLED, "VICRegLoss", 6, {}, True),
    ],
)
def test_steps_are_those_of_the_training(
    work: Callable[[Path], WorkerRun],
    tiny_model: Path,
    tmp_path: Path,
    rows: Sequence[Any],
    loss: str,
    batch_size: int,
    data: dict[str, Any],
    is_labelled: bool,
) -> None:
    labels = [row[1] for row in rows] if is_labelled else None
    count = examples(len(rows), labels, loss, data.get("val_split", 0.0), 42)
    write_spec(tmp_path, tiny_model, {"train": rows}, loss=loss, labelled=is_labelled, epochs=2, batch_size=batch_size)
    spec = json.loads((tmp_path / "spec.json").read_text())
    spec["config"]["data"] |= data
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    done = work(tmp_path)
    assert done.returncode == 0, done.log
    last = done.of("progress")[-1]
    assert last["phase"] == "saving"
    assert last["steps"] == 2 * steps_per_epoch(count, batch_size)
    assert last["examples_per_s"] > 0
