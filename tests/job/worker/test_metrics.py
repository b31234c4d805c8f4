"""Metrics against scikit-learn and against the definitions, written out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import dcg_score, label_ranking_average_precision_score, ndcg_score

from finetuner.api.callbacks import METRIC_NAMES
from finetuner.job.worker.metrics import ranking_metrics

Bits = npt.NDArray[np.bool_]


@st.composite
def queries(draw: st.DrawFn) -> tuple[list[Bits], list[npt.NDArray[np.int64]], int]:
    """Draw, for some queries over one index, which documents are relevant, and the order in which all are found."""
    size = draw(st.integers(2, 12))
    count = draw(st.integers(1, 4))
    bits = [np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size))) for _ in range(count)]
    orders = [np.array(draw(st.permutations(range(size)))) for _ in range(count)]
    return bits, orders, draw(st.integers(1, 14))


@given(queries())
def test_every_metric_is_what_its_definition_says(case: tuple[list[Bits], list[npt.NDArray[np.int64]], int]) -> None:
    bits, orders, k = case
    found = ranking_metrics(orders, [np.flatnonzero(one) for one in bits], k)
    assert set(found) == set(METRIC_NAMES)
    for query, (relevant, order) in enumerate(zip(bits, orders, strict=True)):
        hits = relevant[order]
        total, top = int(relevant.sum()), hits[:k]
        ranks = np.flatnonzero(top) + 1
        precision = top.sum() / k
        recall = top.sum() / total if total else 0.0
        expected = {
            "precision_at_k": precision,
            "recall_at_k": recall,
            "f1_score_at_k": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
            "hit_at_k": float(top.any()),
            "average_precision": sum((i + 1) / rank for i, rank in enumerate(ranks)) / total if total else 0.0,
            "reciprocal_rank": 1 / ranks[0] if len(ranks) else 0.0,
            "r_precision": hits[:total].sum() / total if total else 0.0,
            "recall_at_1": float(hits[0]) / total if total else 0.0,
        }
        for name, value in expected.items():
            assert found[name][query] == pytest.approx(value), name


@given(queries())
def test_gains_and_precision_agree_with_scikit_learn(
    case: tuple[list[Bits], list[npt.NDArray[np.int64]], int],
) -> None:
    bits, orders, k = case
    found = ranking_metrics(orders, [np.flatnonzero(one) for one in bits], k)
    for query, (relevant, order) in enumerate(zip(bits, orders, strict=True)):
        scores = np.empty(len(order))
        scores[order] = -np.arange(len(order), dtype=np.float64)
        truth, given_scores = relevant[None, :].astype(float), scores[None, :]
        assert found["dcg_at_k"][query] == pytest.approx(dcg_score(truth, given_scores, k=k))
        assert found["ndcg_at_k"][query] == pytest.approx(ndcg_score(truth, given_scores, k=k))
        if relevant.any() and k >= len(order):
            precision = label_ranking_average_precision_score(relevant[None, :], given_scores)
            assert found["average_precision"][query] == pytest.approx(precision)


def test_the_order_given_is_the_order_measured_however_many_documents_there_are() -> None:
    order = np.arange(3000, dtype=np.int64)[::-1].copy()
    found = ranking_metrics([order], [np.array([7])], 3000)
    assert found["reciprocal_rank"][0] == pytest.approx(1 / 2993)


def test_a_first_hit_below_k_counts_as_none() -> None:
    order = np.arange(10, dtype=np.int64)
    found = ranking_metrics([order, order], [np.array([4]), np.array([5])], 5)
    assert found["reciprocal_rank"].tolist() == pytest.approx([1 / 5, 0.0])
    assert found["hit_at_k"].tolist() == [1.0, 0.0]
