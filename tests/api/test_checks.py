from __future__ import annotations

import pytest

from finetuner.api import catalog
from finetuner.api.catalog import RANKING_LOSS
from finetuner.api.checks import check_config, check_data_kind, check_training_kind, has_weights
from finetuner.api.config import DataConfig, HyperParameters, ModelConfig, TrainingConfig
from finetuner.data import COLUMNS
from finetuner.errors import InvalidInput

KINDS = sorted(COLUMNS)


@pytest.mark.parametrize("loss", catalog.offered("loss"))
def test_a_loss_takes_the_kinds_of_the_catalog_and_no_other(loss: str) -> None:
    taken = set()
    for kind in KINDS:
        try:
            check_training_kind(kind, loss)
        except InvalidInput:
            continue
        taken.add(kind)
    assert taken == set(catalog.find("loss", loss).data)
    assert taken


@pytest.mark.parametrize(
    ("kind", "loss", "words"),
    [
        ("pairs", "MarginMSELoss", "cannot be trained on pairs; it takes margins .* pairs is for AngularLoss"),
        ("margins", RANKING_LOSS, "cannot be trained on margins .* margins is for MarginMSELoss"),
        ("scored", "TripletMarginLoss", "scored is for CosineSimilarityLoss"),
        ("triplets", "VICRegLoss", "it takes pairs or labelled texts"),
        ("texts", "TripletMarginLoss", "cannot be trained on a single column of texts"),
    ],
)
def test_the_refusal_says_what_goes_together(kind: str, loss: str, words: str) -> None:
    for field in ("train_data", "$.config.data.eval_data"):
        with pytest.raises(InvalidInput, match=words):
            check_data_kind(field, kind, loss)


@pytest.mark.parametrize(
    ("loss", "options", "has"),
    [
        ("ArcFaceLoss", {}, True),
        ("ManifoldLoss", {}, True),
        ("MarginLoss", {}, False),
        ("MarginLoss", {"learn_beta": True}, True),
        ("TripletMarginLoss", {}, False),
    ],
)
def test_a_loss_with_weights_takes_an_optimizer_of_its_own(loss: str, options: dict[str, bool], *, has: bool) -> None:
    assert has_weights(catalog.find("loss", loss), options) is has
    config = TrainingConfig(
        model=ModelConfig(name="all-minilm-l6-v2", freeze=True, output_dim=8, to_onnx=True),
        data=DataConfig(train_data="data"),
        hyper_parameters=HyperParameters(
            loss=loss, loss_options=options, loss_optimizer="SGD", loss_optimizer_options={"lr": 0.1, "momentum": 0.9}
        ),
    )
    if has:
        check_config(config)
    else:
        with pytest.raises(InvalidInput, match="has no weights of its own"):
            check_config(config)
