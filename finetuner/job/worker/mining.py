"""Exact search of many queries in many documents by matrix products in blocks, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import attrs
import torch
from torch import Tensor

from finetuner.job.worker.vectors import Vectors

QUERY_BLOCK: Final = 512
DOCUMENT_BLOCK: Final = 8192
"""The most queries and documents that are compared at once: 16 MiB of scores."""
_FLOAT_BYTES: Final = 4
_RESULT_BYTES: Final = 12
"""A document's number and its score."""


@attrs.frozen(kw_only=True, eq=False)
class Found:
    """The nearest documents of each query, best first; of equally near ones the first in the corpus comes first."""

    documents: Tensor
    """(queries, k), int64; -1 where there are no more."""
    scores: Tensor
    """(queries, k), float32; -inf where there are no more."""


def memory_bytes(queries: int, k: int, dim: int) -> int:
    """Give the most memory that `search` takes, vectors' files aside.

    A block of scores, which of them are tied, the vectors of the block, k results a query (twice, when those of all
    blocks are put together), and what the merging of a block takes.
    """
    scores = QUERY_BLOCK * DOCUMENT_BLOCK
    return (
        scores * (_FLOAT_BYTES + 1)
        + (QUERY_BLOCK + DOCUMENT_BLOCK) * dim * _FLOAT_BYTES
        + 2 * queries * k * _RESULT_BYTES
        + 8 * QUERY_BLOCK * k * _RESULT_BYTES
    )


def search(
    queries: Vectors,
    documents: Vectors,
    k: int,
    *,
    among: int | None = None,
    excluded: Sequence[Sequence[int]] | None = None,
    device: str = "cpu",
    on_block: Callable[[int], None] = lambda _: None,
) -> Found:
    """Find the k documents nearest to each query by the dot product, exactly.

    Args:
        queries: n vectors.
        documents: m vectors.
        k: Documents to find for a query.
        among: Search only the first so many documents.
        excluded: For each query the documents that it must not find.
        device: Where the products are computed.
        on_block: Called with the number of queries that were searched since the last call.
    """
    among = len(documents) if among is None else among
    found: list[tuple[Tensor, Tensor]] = []
    for start in range(0, len(queries), QUERY_BLOCK):
        stop = min(start + QUERY_BLOCK, len(queries))
        mine = queries.block(start, stop).to(device)
        best = (torch.empty(stop - start, 0), torch.empty(stop - start, 0, dtype=torch.int64))
        for first in range(0, among, DOCUMENT_BLOCK):
            last = min(first + DOCUMENT_BLOCK, among)
            scores = products(mine, documents.block(first, last).to(device))
            if excluded is not None:
                _exclude(scores, excluded[start:stop], first)
            values, columns = _top(scores, k)
            best = _merged(best, (values.cpu(), columns.cpu() + first), k)
        found.append(best)
        on_block(stop - start)
    width = max((one.shape[1] for one, _ in found), default=0)
    scores = torch.cat([one for one, _ in found]) if found else torch.empty(0, width)
    indices = torch.cat([one for _, one in found]) if found else torch.empty(0, width, dtype=torch.int64)
    return Found(documents=indices.masked_fill(scores == -torch.inf, -1), scores=scores)


def products(queries: Tensor, documents: Tensor) -> Tensor:
    """Give the dot product of each query with each document: (n, m)."""
    return queries @ documents.T


def _exclude(scores: Tensor, excluded: Sequence[Sequence[int]], first: int) -> None:
    last = first + scores.shape[1]
    places = [(row, one - first) for row, some in enumerate(excluded) for one in some if first <= one < last]
    if places:
        rows, columns = torch.tensor(places, device=scores.device).T
        scores[rows, columns] = -torch.inf


def _top(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Give the k highest scores of each row, the first column first where scores are equal."""
    k = min(k, scores.shape[1])
    top = torch.topk(scores, k, dim=1)
    least = top.values[:, -1:]
    values, columns = _in_order(scores, top.indices.sort(dim=1).values)
    # `topk` may take any of those that are equal to the last one taken.
    is_tied = ((scores >= least).sum(dim=1) > k) & (least[:, 0] > -torch.inf)
    for row in is_tied.nonzero()[:, 0].tolist():
        candidates = (scores[row] >= least[row]).nonzero()[:, 0]
        order = scores[row, candidates].sort(descending=True, stable=True).indices[:k]
        columns[row] = candidates[order]
        values[row] = scores[row, columns[row]]
    return values, columns


def _in_order(scores: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    values, order = scores.gather(1, columns).sort(dim=1, descending=True, stable=True)
    return values, columns.gather(1, order)


def _merged(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor], k: int) -> tuple[Tensor, Tensor]:
    """Merge the best of earlier documents with those of later ones."""
    values, order = torch.cat([one[0], other[0]], dim=1).sort(dim=1, descending=True, stable=True)
    columns = torch.cat([one[1], other[1]], dim=1).gather(1, order)
    return values[:, :k], columns[:, :k]
