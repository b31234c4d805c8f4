"""The search in blocks against brute force."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from finetuner.job.worker import mining
from finetuner.job.worker.vectors import Vectors

# Small whole numbers: their products are exact in any order, and equal scores are many.
NUMBERS = st.integers(-3, 3)


@contextmanager
def _vectors(*matrices: np.ndarray) -> Iterator[list[Vectors]]:
    with tempfile.TemporaryDirectory() as folder:
        made = []
        for number, matrix in enumerate(matrices):
            path = Path(folder, str(number))
            path.write_bytes(matrix.astype(np.float32).tobytes())
            made.append(Vectors(path, matrix.shape[1]))
        yield made


def _brute_force(
    queries: np.ndarray, documents: np.ndarray, k: int, among: int, excluded: list[list[int]]
) -> list[list[tuple[int, float]]]:
    found = []
    for query, left_out in zip(queries, excluded, strict=True):
        scores = {number: float(documents[number] @ query) for number in range(among) if number not in left_out}
        found.append([(one, scores[one]) for one in sorted(scores, key=lambda one: (-scores[one], one))[:k]])
    return found


@st.composite
def _problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int, int, list[list[int]]]:
    dim, queries, documents = draw(st.integers(1, 3)), draw(st.integers(1, 12)), draw(st.integers(1, 40))
    made = [
        np.array(draw(st.lists(st.lists(NUMBERS, min_size=dim, max_size=dim), min_size=rows, max_size=rows)))
        for rows in (queries, documents)
    ]
    excluded = draw(st.lists(st.lists(st.integers(0, documents - 1), max_size=4), min_size=queries, max_size=queries))
    return made[0], made[1], draw(st.integers(1, 12)), draw(st.integers(1, documents)), excluded


@given(problem=_problems(), query_block=st.integers(1, 7), document_block=st.integers(1, 11))
def test_blocks_of_any_size_find_what_brute_force_finds(
    problem: tuple[np.ndarray, np.ndarray, int, int, list[list[int]]], query_block: int, document_block: int
) -> None:
    queries, documents, k, among, excluded = problem
    with pytest.MonkeyPatch.context() as patch, _vectors(queries, documents) as (ours, theirs):
        patch.setattr(mining, "QUERY_BLOCK", query_block)
        patch.setattr(mining, "DOCUMENT_BLOCK", document_block)
        found = mining.search(ours, theirs, k, among=among, excluded=excluded)
    said = [
        [(number, score) for number, score in zip(numbers, scores, strict=True) if number >= 0]
        for numbers, scores in zip(found.documents.tolist(), found.scores.tolist(), strict=True)
    ]
    assert said == _brute_force(queries, documents, k, among, excluded)


def test_no_more_than_a_block_is_compared_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    queries, documents = draw.normal(size=(700, 8)), draw.normal(size=(20_000, 8))
    sizes = []
    products = mining.products

    def watched(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
        scores = products(ours, theirs)
        sizes.append(scores.shape)
        return scores

    monkeypatch.setattr(mining, "products", watched)
    searched: list[int] = []
    with _vectors(queries, documents) as (ours, theirs):
        found = mining.search(ours, theirs, 5, on_block=searched.append)
    assert max(rows for rows, _ in sizes) <= mining.QUERY_BLOCK
    assert max(columns for _, columns in sizes) <= mining.DOCUMENT_BLOCK
    assert sum(rows * columns for rows, columns in sizes) == 700 * 20_000
    assert sum(searched) == 700
    expected = np.argsort(-(queries.astype(np.float32) @ documents.astype(np.float32).T), axis=1)[:, :5]
    assert (found.documents.numpy() == expected).all()


def test_the_bound_that_the_log_tells_holds_for_what_is_kept() -> None:
    bound = mining.memory_bytes(1000, 10, 384)
    assert bound >= 4 * mining.QUERY_BLOCK * mining.DOCUMENT_BLOCK + 1000 * 10 * 12
    assert bound < 2 * mining.memory_bytes(1, 1, 1) + 40_000_000, "it does not grow with the corpus"
