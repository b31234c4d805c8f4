"""From queries and a corpus to rows: what is excluded, what is the positive, and in which order."""

from __future__ import annotations

import numpy as np
import torch

from finetuner.data import DataSet
from finetuner.job.worker.mining import Found
from finetuner.job.worker.relations import Texts, candidates, pairs, rows


def _texts(*texts: str) -> DataSet:
    return DataSet(kind="texts", columns=("text",), rows=tuple((text,) for text in texts))


def _found(*documents: list[int]) -> Found:
    table = torch.tensor(documents)
    return Found(documents=table, scores=torch.zeros(table.shape))


def test_each_text_counts_once_and_none_answers_itself() -> None:
    texts = Texts.of(_texts("a", "b", "a"), _texts("x", "b", "y", "x"))
    assert (texts.queries, texts.documents, texts.corpus_size) == (["a", "b"], ["x", "b", "y"], 3)
    assert texts.excluded == [[], [1]]
    assert texts.repeated == 2
    assert texts.to_mine(4) == 5


def test_known_answers_are_no_negatives_and_need_not_be_in_the_corpus() -> None:
    queries = DataSet(
        kind="pairs", columns=("anchor", "positive"), rows=(("a", "x"), ("a", "new"), ("b", "y"), ("b", "b"))
    )
    texts = Texts.of(queries, _texts("x", "y", "b"))
    assert (texts.documents, texts.corpus_size) == (["x", "y", "b", "new"], 3)
    assert texts.positives == [[0, 3], [1]]
    assert texts.excluded == [[0, 3], [1, 2]]
    assert texts.to_mine(4) == 4
    mined = [[1], [0]]
    assert pairs(texts, mined).tolist() == [[0, 0], [0, 3], [0, 1], [1, 1], [1, 0]]
    assert list(rows(texts, mined, np.array([0.9, 0.8, 0.5, 0.1, 0.25]))) == [
        ("a", "x", "y", 0.4),
        ("a", "new", "y", 0.3),
        ("b", "y", "x", -0.15),
    ]


def test_without_a_known_answer_the_best_score_is_the_positive() -> None:
    texts = Texts.of(_texts("a", "b", "c"), _texts("x", "y", "z"))
    mined = [[0, 1, 2], [2], []]
    assert list(rows(texts, mined, np.array([0.25, 0.5, 0.125, 1.0]))) == [
        ("a", "y", "x", 0.25),
        ("a", "y", "z", 0.375),
    ]


def test_what_several_miners_rank_high_comes_first() -> None:
    one, other = _found([4, 1, 2], [0, -1, -1]), _found([1, 3, -1], [-1, -1, -1])
    assert candidates([one, other]) == [[1, 4, 3, 2], [0]]
    assert candidates([one]) == [[4, 1, 2], [0]]
