from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from finetuner.api import catalog
from finetuner.data import COLUMNS, DataSet
from finetuner.errors import InvalidInput
from finetuner.job.worker.examples import make_examples
from finetuner.job.worker.losses import MaskedRankingLoss, false_negatives, make_loss
from finetuner.job.worker.optimizers import make_optimizer
from tests.models_support import labelled_rows

NEEDED: dict[str, dict[str, Any]] = {"RankedListLoss": {"margin": 0.4, "Tn": 10}}
"""Options without a default."""


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> SentenceTransformer:
    return SentenceTransformer(str(tiny_model), device="cpu")


def _batch(model: SentenceTransformer, loss: str) -> tuple[list[dict[str, Any]], torch.Tensor]:
    rows = tuple(labelled_rows(32))
    examples = make_examples(DataSet(kind="labelled", columns=COLUMNS["labelled"], rows=rows), loss, 0)
    return [model.preprocess(texts) for texts in examples.columns.values()], torch.tensor(examples.ids)


def _losses(tiny_model: Path, name: str, miner: str | None = None, optimizer: str = "Adam") -> list[float]:
    torch.manual_seed(0)
    fresh = SentenceTransformer(str(tiny_model), device="cpu").eval()
    loss = make_loss(fresh, name, NEEDED.get(name, {}), miner, {})
    features, labels = _batch(fresh, name)
    steps = make_optimizer(loss.parameters(), optimizer, {}, 3e-3)
    seen = []
    for _ in range(12):
        steps.zero_grad()
        value = loss([dict(one) for one in features], labels)
        value.backward()
        steps.step()
        seen.append(float(value.detach()))
    return seen


@pytest.mark.parametrize("name", catalog.offered("loss"))
def test_every_loss_falls(tiny_model: Path, name: str) -> None:
    seen = _losses(tiny_model, name)
    assert np.isfinite(seen).all()
    assert np.mean(seen[-3:]) < np.mean(seen[:2])


@pytest.mark.parametrize("miner", catalog.offered("miner"))
def test_every_miner_leaves_something_to_learn(tiny_model: Path, miner: str) -> None:
    seen = _losses(tiny_model, "TripletMarginLoss", miner)
    assert np.isfinite(seen).all()
    assert len(set(seen)) > 1


@pytest.mark.parametrize("optimizer", catalog.offered("optimizer"))
def test_every_optimizer_moves_the_weights(tiny_model: Path, optimizer: str) -> None:
    seen = _losses(tiny_model, "NTXentLoss", optimizer=optimizer)
    assert seen[-1] < seen[0]


def test_options_reach_the_library(model: SentenceTransformer) -> None:
    made = make_loss(model, "TripletMarginLoss", {"margin": 0.7}, "TripletMarginMiner", {"type_of_triplets": "hard"})
    assert made.loss.margin == 0.7
    assert made.miner.type_of_triplets == "hard"
    adam = make_optimizer(model.parameters(), "AdamW", {"betas": [0.5, 0.6], "weight_decay": 0.2}, 3e-4)
    assert (adam.defaults["betas"], adam.defaults["weight_decay"], adam.defaults["lr"]) == ((0.5, 0.6), 0.2, 3e-4)


@pytest.mark.parametrize(
    ("name", "options", "miner", "words"),
    [
        ("TripletMarginLoss", {"swap": 1}, None, "type bool"),
        ("MultipleNegativesRankingLoss", {}, "BatchHardMiner", "leave the miner"),
        ("MultipleNegativesRankingLoss", {"hardness_mode": "odd"}, None, "refuses its options"),
        ("TripletMarginLoss", {}, "NoMiner", "there is no miner"),
    ],
)
def test_what_cannot_be_made_is_refused(
    model: SentenceTransformer, name: str, options: dict[str, Any], miner: str | None, words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        make_loss(model, name, options, miner, {})


def test_an_optimizer_that_refuses_a_value_is_named(model: SentenceTransformer) -> None:
    with pytest.raises(InvalidInput, match="'Adam' refuses its options"):
        make_optimizer(model.parameters(), "Adam", {"betas": [2.0, 0.9]}, 1e-3)


def test_without_repeated_texts_it_is_the_library_s_loss(model: SentenceTransformer) -> None:
    embeddings = [torch.randn(6, 8) for _ in range(3)]
    ours = MaskedRankingLoss(model).compute_loss_from_embeddings(embeddings, torch.arange(18).reshape(3, 6).T)
    theirs = MultipleNegativesRankingLoss(model).compute_loss_from_embeddings(embeddings, torch.zeros(6))
    assert float(ours) == pytest.approx(float(theirs))


@given(st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=2, max_size=6), st.integers(2, 3))
def test_a_right_answer_is_never_a_negative(ids: list[list[int]], columns: int) -> None:
    labels = torch.tensor(ids)[:, :columns]
    generator = torch.Generator().manual_seed(len(ids))
    embeddings = [torch.nn.functional.normalize(torch.randn(len(ids), 4, generator=generator)) for _ in range(columns)]
    documents = torch.cat(embeddings[1:])
    expected = []
    for row, (anchor, positive, *_) in enumerate(labels.tolist()):
        scores = (20 * embeddings[0][row] @ documents.T).tolist()
        allowed = [scores[row]]
        for column in range(1, columns):
            for other in range(len(ids)):
                text = int(labels[other, column])
                is_own = column == 1 and other == row
                is_same_anchor = column == 1 and int(labels[other, 0]) == anchor
                if not is_own and not is_same_anchor and text not in {anchor, positive}:
                    allowed.append(scores[len(ids) * (column - 1) + other])
        expected.append(np.log(np.sum(np.exp(allowed))) - scores[row])
    loss = MaskedRankingLoss.__new__(MaskedRankingLoss)
    MaskedRankingLoss.__init__(loss, torch.nn.Identity())  # embeddings are given: no model is asked
    assert float(loss.compute_loss_from_embeddings(embeddings, labels)) == pytest.approx(np.mean(expected), rel=1e-4)


def test_the_mask_spares_the_own_positive_alone() -> None:
    ids = torch.tensor([[0, 9], [1, 9], [2, 8]])
    assert false_negatives(ids).tolist() == [[False, True, False], [True, False, False], [False, False, False]]


def test_a_masked_document_is_not_pushed_away(model: SentenceTransformer) -> None:
    embeddings = [torch.randn(3, 4), torch.randn(3, 4, requires_grad=True)]
    loss = MaskedRankingLoss(model)
    loss.compute_loss_from_embeddings(embeddings, torch.tensor([[0, 7], [0, 7], [0, 7]])).backward()
    assert embeddings[1].grad is not None
    assert embeddings[1].grad.abs().max() == 0
