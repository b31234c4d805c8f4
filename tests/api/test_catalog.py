from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from finetuner.api import catalog
from finetuner.api.catalog import Kind
from finetuner.errors import InvalidInput

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("kind", "name", "options"),
    [
        ("loss", "TripletMarginLoss", {"margin": 1, "triplets_per_anchor": "all"}),
        ("loss", "TripletMarginLoss", {"margin": 0.5, "triplets_per_anchor": 3, "swap": True}),
        ("loss", "MultipleNegativesRankingLoss", {"scale": 20.0, "hardness_mode": None}),
        ("loss", "RankedListLoss", {"margin": 0.4, "Tn": 10}),
        ("miner", "TripletMarginMiner", {"type_of_triplets": "semihard"}),
        ("optimizer", "AdamW", {"betas": [0.9, 0.99], "weight_decay": 0}),
        ("optimizer", "Adam", None),
        ("loss", "ArcFaceLoss", {"margin": 28.6}),
        ("scheduler", "linear", {"num_warmup_steps": 2, "scheduler_step": "batch"}),
    ],
)
def test_what_is_offered_passes(kind: Kind, name: str, options: dict[str, Any] | None) -> None:
    assert catalog.check(kind, name, options).name == name


@pytest.mark.parametrize(
    ("kind", "name", "options", "words"),
    [
        ("loss", "TripletMarginLos", {}, "there is no loss 'TripletMarginLos'. Near: 'TripletMarginLoss'"),
        ("loss", "", {}, "there is no loss ''"),
        ("loss", "CrossBatchMemory", {}, "is not offered: it wraps another loss"),
        ("optimizer", "LBFGS", {}, "is not offered: it computes the loss of a batch again"),
        ("miner", "EmbeddingsAlreadyPackagedAsTriplets", {}, "give triplets as data"),
        ("loss", "TripletMarginLoss", {"margn": 1}, "no option 'margn'. Near: 'margin'"),
        ("loss", "TripletMarginLoss", {"margin": "wide"}, "option 'margin' .* must be of type float"),
        ("loss", "TripletMarginLoss", {"margin": True}, "type float"),
        ("loss", "TripletMarginLoss", {"margin": None}, "type float"),
        ("loss", "TripletMarginLoss", {"swap": 1}, "type bool"),
        ("loss", "RankedListLoss", {"margin": 0.4}, "needs the option 'Tn'"),
        ("miner", "HardMiner", {}, "there is no miner"),
        ("optimizer", "adam", {}, "Near: 'Adam'"),
        ("optimizer", "Adam", {"lr": 1}, "no option 'lr'"),
        ("scheduler", "cosin", {}, "there is no scheduler 'cosin'. Near: 'cosine'"),
        ("scheduler", "linear", {"num_warmup_step": 2}, "Near: 'num_warmup_steps'"),
        ("scheduler", "linear", {"scheduler_step": "bach"}, "cannot be 'bach'. Near: 'batch'"),
        ("loss", "SphereFaceLoss", {"margin": 2.5}, "type int"),
        ("callback", "WandBLoger", {}, "Near: 'WandBLogger'"),
    ],
)
def test_what_is_not_is_refused(kind: Kind, name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        catalog.check(kind, name, options)


def test_defaults() -> None:
    assert catalog.find("loss", "TripletMarginLoss").defaults() == {
        "margin": 0.05,
        "swap": False,
        "smooth_loss": False,
        "triplets_per_anchor": "all",
    }


def test_the_file_is_what_the_libraries_have() -> None:
    command = [sys.executable, str(ROOT / "tools" / "catalog.py"), "--check"]
    done = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
