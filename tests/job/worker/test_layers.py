"""The layer that `output_dim` adds, and what `freeze` trains."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize

from finetuner.api.config import ModelConfig
from finetuner.job.worker.layers import prepare_layers
from finetuner.model import unpack
from tests.models_support import WorkerRun, labelled_rows, write_spec

Work = Callable[[Path], WorkerRun]
TEXTS = ["the dog", "some rain today", "a song", "new bread with soup"]


@pytest.fixture
def model(tiny_model: Path) -> SentenceTransformer:
    return SentenceTransformer(str(tiny_model), device="cpu").eval()


def _vectors(model: SentenceTransformer) -> Any:
    return model.encode(TEXTS, show_progress_bar=False)


def _trained_names(model: SentenceTransformer) -> set[str]:
    return {name for name, weights in model.named_parameters() if weights.requires_grad}


def test_without_either_the_whole_model_is_trained_as_it_is(model: SentenceTransformer) -> None:
    before = _vectors(model)
    said = prepare_layers(model, ModelConfig(name="m"))
    assert len(model) == 2
    assert said.weights == said.of_weights
    assert str(said).startswith("training the whole model: ")
    assert (_vectors(model) == before).all()


@pytest.mark.parametrize(("dim", "keeps"), [(8, False), (32, True), (48, True)])
def test_output_dim_adds_a_layer_and_trains_all(model: SentenceTransformer, dim: int, keeps: bool) -> None:
    before = _vectors(model)
    torch.manual_seed(0)
    said = prepare_layers(model, ModelConfig(name="m", output_dim=dim))
    after = _vectors(model)
    assert after.shape == (len(TEXTS), dim)
    assert model.get_embedding_dimension() == dim
    assert said.weights == said.of_weights
    assert np.allclose(after @ after.T, before @ before.T, atol=1e-4) == keeps


def test_freeze_trains_a_layer_that_at_first_changes_nothing(model: SentenceTransformer) -> None:
    before = _vectors(model)
    said = prepare_layers(model, ModelConfig(name="m", freeze=True))
    assert _trained_names(model) == {"2.linear.weight", "2.linear.bias"}
    assert said.weights == 32 * 32 + 32
    assert np.allclose(_vectors(model), before, atol=1e-6)


def test_freeze_trains_the_layer_that_output_dim_adds(model: SentenceTransformer) -> None:
    said = prepare_layers(model, ModelConfig(name="m", freeze=True, output_dim=8))
    assert _trained_names(model) == {"2.linear.weight", "2.linear.bias"}
    assert "an added linear layer of 8 outputs, the rest frozen" in str(said)


def test_freeze_trains_the_layer_that_a_model_ends_with(model: SentenceTransformer) -> None:
    model.append(Dense(in_features=32, out_features=6))
    model.append(Normalize())
    prepare_layers(model, ModelConfig(name="m", freeze=True))
    assert len(model) == 4
    assert _trained_names(model) == {"2.linear.weight", "2.linear.bias"}


def test_the_layer_stands_before_a_normalization(model: SentenceTransformer) -> None:
    model.append(Normalize())
    prepare_layers(model, ModelConfig(name="m", output_dim=8))
    assert [type(module).__name__ for module in model][2:] == ["Dense", "Normalize"]
    assert np.allclose(np.linalg.norm(_vectors(model), axis=1), 1)


@pytest.mark.train
def test_a_frozen_job_moves_its_layer_alone_and_leaves_a_plain_model(
    work: Work, tiny_model: Path, tmp_path: Path
) -> None:
    write_spec(tmp_path, tiny_model, {"train": labelled_rows(48)})
    spec = json.loads((tmp_path / "spec.json").read_text())
    spec["config"]["model"] |= {"freeze": True, "output_dim": 8}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    done = work(tmp_path)
    assert done.returncode == 0, done.log
    assert "training an added linear layer of 8 outputs, the rest frozen: 264 of " in done.log
    made = SentenceTransformer(str(unpack(tmp_path / "artifact.zip.part", tmp_path / "cache")), device="cpu")
    base = SentenceTransformer(str(tiny_model), device="cpu")
    assert _vectors(made).shape == (len(TEXTS), 8)
    for (name, tuned), (_, old) in zip(made[0].named_parameters(), base[0].named_parameters(), strict=True):
        assert torch.equal(tuned, old), name
    assert made[2].linear.bias.abs().sum() > 0
    assert copy.deepcopy(made)[2].linear.weight.shape == (8, 32)
