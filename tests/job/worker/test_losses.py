from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import attrs
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
from finetuner.job.worker.losses import MaskedRankingLoss, false_negatives, make_loss, own_parameters
from finetuner.job.worker.metric_losses import CLAMPED, balanced, representatives_first
from tests.models_support import labelled_rows

NEEDED: dict[str, dict[str, Any]] = {"RankedListLoss": {"margin": 0.4, "Tn": 10}}
"""Options without a default."""
ROWS = labelled_rows(16)
DATA: dict[str, list[Any]] = {
    "labelled": ROWS,
    "pairs": [(text, f"the {label}") for text, label in ROWS],
    "triplets": [(text, f"the {label}", ROWS[index - 1][0]) for index, (text, label) in enumerate(ROWS)],
    "scored": [(text, ROWS[index - 4][0], "0.9") for index, (text, _) in enumerate(ROWS)],
    "margins": [(text, label, ROWS[index - 1][1], "0.5") for index, (text, label) in enumerate(ROWS)],
}


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> SentenceTransformer:
    return SentenceTransformer(str(tiny_model), device="cpu").eval()


@attrs.frozen
class Training:
    """A few steps on one batch."""

    loss: Any
    seen: list[float]
    before: list[torch.Tensor]
    """The loss's own weights, as they were made."""

    @property
    def falls(self) -> bool:
        return bool(np.isfinite(self.seen).all() and np.mean(self.seen[-3:]) < np.mean(self.seen[:2]))


def _trained(
    model: SentenceTransformer, name: str, *, kind: str = "", miner: str | None = None, steps: int = 10, **options: Any
) -> Training:
    torch.manual_seed(0)
    fresh = copy.deepcopy(model)
    kind = kind or catalog.find("loss", name).data[-1]
    rows = tuple(tuple(row) for row in DATA[kind])
    examples = make_examples(DataSet(kind=kind, columns=COLUMNS[kind], rows=rows), name, 0)
    loss = make_loss(fresh, name, {**NEEDED.get(name, {}), **options}, miner, {}, classes=len(examples.classes))
    features = [fresh.preprocess(texts) for texts in examples.columns.values()]
    before = [weights.detach().clone() for weights in own_parameters(loss)]
    optimizer = torch.optim.Adam(loss.parameters(), 3e-3)
    seen = []
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss([dict(one) for one in features], torch.tensor(examples.targets))
        value.backward()
        optimizer.step()
        seen.append(float(value.detach()))
    return Training(loss, seen, before)


@pytest.mark.parametrize("name", catalog.offered("loss"))
def test_every_loss_falls_and_moves_its_own_weights(model: SentenceTransformer, name: str) -> None:
    done = _trained(model, name)
    assert done.falls, done.seen
    after = own_parameters(done.loss)
    assert bool(after) == bool(catalog.find("loss", name).given)
    assert all(not torch.equal(one, other) for one, other in zip(done.before, after, strict=True))


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name in catalog.offered("loss") for kind in catalog.find("loss", name).data[:-1]],
)
def test_every_loss_takes_the_data_that_the_catalog_says(model: SentenceTransformer, name: str, kind: str) -> None:
    done = _trained(model, name, kind=kind, steps=3)
    assert np.isfinite(done.seen).all()
    assert done.seen[1] != done.seen[0]


@pytest.mark.parametrize("miner", catalog.offered("miner"))
def test_every_miner_leaves_something_to_learn(model: SentenceTransformer, miner: str) -> None:
    done = _trained(model, "TripletMarginLoss", miner=miner)
    assert np.isfinite(done.seen).all()
    assert len(set(done.seen)) > 1
    assert done.seen != _trained(model, "TripletMarginLoss").seen or miner == "TripletMarginMiner"


@pytest.mark.parametrize("name", [name for name in catalog.offered("loss") if catalog.find("loss", name).takes_miner])
def test_every_loss_that_takes_a_miner_takes_what_it_finds(model: SentenceTransformer, name: str) -> None:
    assert np.isfinite(_trained(model, name, miner="MultiSimilarityMiner", steps=2).seen).all()


def test_texts_of_a_class_come_together_with_each_loss_that_has_its_own_way(model: SentenceTransformer) -> None:
    before = _told_apart(model)
    for name in ("ManifoldLoss", "SmoothAPLoss", "InstanceLoss", "P2SGradLoss", "ProxyAnchorLoss"):
        assert _told_apart(_trained(model, name, steps=20).loss.model) > before + 0.1, name


def _told_apart(model: SentenceTransformer) -> float:
    """Give how much nearer two texts of one class are than two of different ones."""
    vectors = model.encode(
        [text for text, _ in ROWS], convert_to_tensor=True, show_progress_bar=False, normalize_embeddings=True
    )
    alike = torch.tensor([[one == other for _, other in ROWS] for _, one in ROWS])
    cosines = vectors @ vectors.T
    return float(cosines[alike].mean() - cosines[~alike].mean())


def test_a_learned_boundary_is_a_weight_of_the_loss(model: SentenceTransformer) -> None:
    done = _trained(model, "MarginLoss", learn_beta=True, nu=0.1)
    assert [tuple(weights.shape) for weights in done.before] == [(1,)]
    assert float(done.loss.loss.beta.detach()) != 1.2


@pytest.mark.parametrize(("options", "reached"), [({}, 1.0), ({"scale": 8.0}, 0.125), ({"similarity": "cosine"}, 1.0)])
def test_a_margin_is_compared_with_the_model_s_own(
    model: SentenceTransformer, options: dict[str, Any], reached: float
) -> None:
    vectors = [torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])]
    loss = make_loss(model, "MarginMSELoss", options)
    assert float(loss.compute_loss_from_embeddings(vectors, torch.tensor([reached * options.get("scale", 1.0)]))) == (
        pytest.approx((options.get("scale", 1.0) * (1 - reached)) ** 2)
    )


def test_similarity_of_a_margin_is_dot_or_cosine(model: SentenceTransformer) -> None:
    vectors = [torch.tensor([[3.0, 0.0]]), torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 5.0]])]
    values = {
        similarity: float(
            make_loss(model, "MarginMSELoss", {"similarity": similarity}).compute_loss_from_embeddings(
                vectors, torch.tensor([0.0])
            )
        )
        for similarity in ("dot", "cosine")
    }
    assert values == {"dot": 36.0, "cosine": 1.0}


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_a_balanced_part_has_equally_many_of_each_class(classes: list[int]) -> None:
    kept = balanced(torch.tensor(classes)).tolist()
    chosen = [classes[place] for place in kept]
    counts = Counter(chosen)
    assert chosen == sorted(chosen)
    assert len(set(kept)) == len(kept)
    assert len(set(counts.values())) <= 1
    whole = Counter(classes).values()
    assert len(kept) == max(size * sum(count >= size for count in whole) if size > 1 else 0 for size in whole)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_a_representative_of_each_class_stands_at_its_number(classes: list[int]) -> None:
    order = representatives_first(torch.tensor(classes)).tolist()
    assert sorted(order) == list(range(len(classes)))
    names = sorted(set(classes))
    assert [classes[place] for place in order[: len(names)]] == names


def test_a_batch_without_two_of_a_class_is_no_loss(model: SentenceTransformer) -> None:
    value = make_loss(model, "SmoothAPLoss", {}).value(torch.randn(3, 8, requires_grad=True), torch.arange(3))
    assert float(value.detach()) == 0
    value.backward()


def test_the_worst_triplets_have_a_place_in_the_histogram(model: SentenceTransformer) -> None:
    vectors = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    loss = make_loss(model, "DynamicSoftMarginLoss", {})
    value = loss.value(vectors, torch.tensor([0, 0, 1]))
    assert np.isfinite(float(value.detach()))
    assert not loss.loss.hist_.requires_grad


@pytest.mark.parametrize("name", sorted(CLAMPED))
def test_equal_texts_leave_a_number(model: SentenceTransformer, name: str) -> None:
    vectors = torch.nn.functional.normalize(torch.randn(1, 8)).repeat(4, 1).requires_grad_()
    value = make_loss(model, name, {}).value(vectors, torch.tensor([0, 0, 1, 1]))
    value.backward()
    assert np.isfinite(float(value.detach()))
    assert vectors.grad is not None
    assert vectors.grad.isfinite().all()


@pytest.mark.parametrize(
    ("name", "options", "classes", "words"),
    [
        ("ArcFaceLoss", {}, 1, "the data has 1, and needs 2"),
        ("ManifoldLoss", {"K": 9}, 4, "from 2 to the 4 classes"),
        ("ManifoldLoss", {"K": 1}, 4, "from 2 to the 4 classes"),
    ],
)
def test_what_does_not_fit_the_data_is_refused(
    model: SentenceTransformer, name: str, options: dict[str, Any], classes: int, words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        make_loss(model, name, options, classes=classes)


def test_options_reach_the_library(model: SentenceTransformer) -> None:
    made = make_loss(model, "TripletMarginLoss", {"margin": 0.7}, "TripletMarginMiner", {"type_of_triplets": "hard"})
    assert made.loss.margin == 0.7
    assert made.miner.type_of_triplets == "hard"
    assert make_loss(model, "SoftTripleLoss", {"centers_per_class": 3}, classes=5).loss.fc.shape == (32, 15)


@pytest.mark.parametrize(
    ("name", "options", "miner", "words"),
    [
        ("TripletMarginLoss", {"swap": 1}, None, "type bool"),
        ("MultipleNegativesRankingLoss", {}, "BatchHardMiner", "leave the miner"),
        ("PNPLoss", {}, "BatchHardMiner", "leave the miner"),
        ("MarginMSELoss", {}, "BatchHardMiner", "leave the miner"),
        ("MultipleNegativesRankingLoss", {"hardness_mode": "odd"}, None, "cannot be 'odd'"),
        ("MultipleNegativesRankingLoss", {"hardness_strength": -1.0}, None, "refuses its options"),
        ("TripletMarginLoss", {}, "NoMiner", "there is no miner"),
    ],
)
def test_what_cannot_be_made_is_refused(
    model: SentenceTransformer, name: str, options: dict[str, Any], miner: str | None, words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        make_loss(model, name, options, miner, {})


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
    found = float(loss.compute_loss_from_embeddings(embeddings, labels))
    assert found == pytest.approx(np.mean(expected), rel=1e-4, abs=1e-6)


def test_the_mask_spares_the_own_positive_alone() -> None:
    ids = torch.tensor([[0, 9], [1, 9], [2, 8]])
    assert false_negatives(ids).tolist() == [[False, True, False], [True, False, False], [False, False, False]]


def test_a_masked_document_is_not_pushed_away(model: SentenceTransformer) -> None:
    embeddings = [torch.randn(3, 4), torch.randn(3, 4, requires_grad=True)]
    loss = MaskedRankingLoss(model)
    loss.compute_loss_from_embeddings(embeddings, torch.tensor([[0, 7], [0, 7], [0, 7]])).backward()
    assert embeddings[1].grad is not None
    assert embeddings[1].grad.abs().max() == 0
