from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from finetuner.callback import EvaluationCallback
from finetuner.data import COLUMNS, DataSet
from finetuner.errors import InvalidInput
from finetuner.job.worker.evaluation import Encoder, Evaluation, make_evaluation


class Known(Encoder):
    """Gives vectors that the test wrote down."""

    def __init__(self, **vectors: list[float]) -> None:
        self.vectors = vectors

    def encode(self, texts: list[str], batch_size: int) -> torch.Tensor:
        assert batch_size == 32
        return torch.tensor([self.vectors[text] for text in texts], dtype=torch.float32)


LINE = Known(a=[1, 0], b=[0.9, 0.1], c=[0.5, 0.5], d=[0, 1], q=[2, 0.1])


def _labelled(*rows: tuple[str, str]) -> DataSet:
    return DataSet(kind="labelled", columns=COLUMNS["labelled"], rows=rows)


def _made(queries: DataSet, index: DataSet | None = None, **options: Any) -> Evaluation:
    callback = EvaluationCallback("q", "i" if index else None, gather_examples=True, **options)
    return make_evaluation(callback, queries, index, model_name="org/model", seed=0)


def test_queries_are_searched_in_the_index() -> None:
    made = _made(_labelled(("q", "1")), _labelled(("a", "0"), ("b", "1"), ("c", "1"), ("d", "2")), limit=2)
    values, examples = made.run(LINE)
    assert values["reciprocal_rank"] == 0.5
    assert values["precision_at_k"] == 0.5
    assert values["recall_at_k"] == 0.5
    assert values["recall_at_1"] == 0
    (example,) = examples
    assert example["query"] == {"text": "q", "label": "1"}
    assert [(one["text"], one["label"], one["relevant"]) for one in example["results"]] == [
        ("a", "0", False),
        ("b", "1", True),
    ]
    expected = np.dot([2, 0.1], [1, 0]) / np.hypot(2, 0.1)
    assert example["results"][0]["score"] == pytest.approx(expected, abs=1e-5)


def test_pairs_as_index_and_queries_are_taken_as_labelled() -> None:
    pairs = DataSet(kind="pairs", columns=COLUMNS["pairs"], rows=(("q", "1"),))
    index = DataSet(kind="pairs", columns=COLUMNS["pairs"], rows=(("a", "1"), ("d", "0")))
    assert _made(pairs, index).run(LINE)[0]["recall_at_1"] == 1


def test_labelled_queries_are_searched_among_themselves() -> None:
    rows = _labelled(("a", "1"), ("b", "2"), ("c", "1"))
    values, examples = _made(rows, limit=1).run(LINE)
    assert [one["results"][0]["text"] for one in examples] == ["b", "a", "b"]
    assert values["hit_at_k"] == 0
    values, examples = _made(rows, limit=1, exclude_self=False).run(LINE)
    assert [one["results"][0]["text"] for one in examples] == ["a", "b", "c"]
    assert values["hit_at_k"] == 1


def test_of_pairs_the_first_texts_are_searched_in_the_second() -> None:
    pairs = DataSet(kind="pairs", columns=COLUMNS["pairs"], rows=(("a", "b"), ("q", "d"), ("a", "d"), ("c", "b")))
    made = _made(pairs, limit=1)
    assert (made.queries, made.index) == (["a", "q", "c"], ["b", "d"])
    assert [one.tolist() for one in made.relevant] == [[0, 1], [1], [0]]


@pytest.mark.parametrize(
    ("distance", "score"), [("cosine", None), ("dot", 2.0), ("euclidean", -np.hypot(1, 0.1)), ("sqeuclidean", -1.01)]
)
def test_distances(distance: str, score: float | None) -> None:
    made = _made(_labelled(("q", "1")), _labelled(("a", "1"), ("b", "1")), distance=distance)
    best = made.run(LINE)[1][0]["results"][0]
    assert best["text"] == "a"
    if score is not None:
        assert best["score"] == pytest.approx(score, abs=1e-5)


def test_a_query_without_an_answer_counts_as_0() -> None:
    made = _made(_labelled(("q", "1"), ("a", "nowhere")), _labelled(("a", "1"), ("d", "2")))
    assert made.unanswerable == 1
    assert made.run(LINE)[0]["recall_at_1"] == 0.5


def test_names_carry_caption_and_model() -> None:
    made = _made(_labelled(("a", "1"), ("b", "1")), caption="test set", output_model_names=True)
    assert set(made.run(LINE)[0]) >= {"test set/org/model/recall_at_1", "test set/org/model/ndcg_at_k"}


def test_a_sample_of_queries_is_drawn_by_the_seed() -> None:
    rows = _labelled(*((f"{number}", str(number % 3)) for number in range(60)))
    callback = EvaluationCallback("q", query_sample_size=10)
    made = [make_evaluation(callback, rows, None, model_name="m", seed=seed) for seed in (0, 0, 1)]
    assert len(made[0].queries) == 10
    assert made[0].queries == made[1].queries != made[2].queries
    assert len(made[0].index) == 60
    excluded = made[0].excluded
    assert excluded is not None
    assert [made[0].index[position] for position in excluded] == made[0].queries


def test_many_queries_are_measured_in_blocks() -> None:
    vectors = {f"t{number}": [float(np.cos(number)), float(np.sin(number))] for number in range(700)}
    rows = _labelled(*((text, str(number // 2)) for number, text in enumerate(vectors)))
    values = _made(rows, limit=3).run(Known(**vectors))[0]
    matrix = torch.tensor(list(vectors.values()))
    scores = (matrix @ matrix.T).fill_diagonal_(-torch.inf)
    best = scores.topk(3, dim=1).indices
    partner = torch.arange(700) ^ 1
    assert values["hit_at_k"] == pytest.approx(float((best == partner[:, None]).any(1).float().mean()), abs=1e-6)


@pytest.mark.parametrize(
    ("queries", "index", "words"),
    [
        (_labelled(("a", "1")), _labelled(("b", "2")), "never match"),
        (_labelled(("a", "1"), ("b", "2")), None, "never match"),
        (DataSet(kind="texts", columns=("text",), rows=(("a",),)), None, "query_data must have two columns"),
        (
            _labelled(("a", "1")),
            DataSet(kind="triplets", columns=COLUMNS["triplets"], rows=(("a", "b", "c"),)),
            "index_data must have two columns",
        ),
    ],
)
def test_data_that_cannot_be_measured_is_refused(queries: DataSet, index: DataSet | None, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        _made(queries, index)
