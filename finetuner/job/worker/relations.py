"""Queries, documents, and which go together: from the rows that were given to the rows that come out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

import attrs
import numpy as np

from finetuner.data import DataSet
from finetuner.job.worker.mining import Found
from finetuner.job.worker.scoring import Pairs, Scores

_RANK_OFFSET: Final = 60
"""The constant of reciprocal rank fusion, as in Cormack, Clarke and Buettcher (2009)."""

Row: TypeAlias = tuple[str, str, str, float]
"""Query, positive, negative, margin."""


@attrs.frozen(kw_only=True)
class Texts:
    """What is searched for, and in what; each text once."""

    queries: list[str]
    documents: list[str]
    """The corpus, then the known positives that are not in it."""
    corpus_size: int
    """How many of the documents are the corpus: only those are mined."""
    positives: list[list[int]]
    """For each query the documents that are known to answer it; empty lists where none are."""
    excluded: list[list[int]]
    """For each query the documents that are no negatives of it: its positives, and its own text."""
    repeated: int
    """Rows of the queries and of the corpus that were there before, left out."""

    @classmethod
    def of(cls, query_data: DataSet, corpus_data: DataSet) -> Texts:
        """Take in the queries, alone or each with a text that answers it, and the corpus."""
        queries = {text: number for number, text in enumerate(dict.fromkeys(query_data.column(0)))}
        documents = {text: number for number, text in enumerate(dict.fromkeys(corpus_data.column(0)))}
        corpus_size = len(documents)
        known: list[dict[int, None]] = [{} for _ in queries]
        for query, *positive in query_data.rows:
            for text in positive:
                if text != query:
                    known[queries[query]][documents.setdefault(text, len(documents))] = None
        own = [documents.get(text) for text in queries]
        return cls(
            queries=list(queries),
            documents=list(documents),
            corpus_size=corpus_size,
            positives=[list(some) for some in known],
            excluded=[[*some, *(() if one is None else (one,))] for some, one in zip(known, own, strict=True)],
            repeated=len(query_data.rows) - len(set(query_data.rows)) + len(corpus_data.rows) - corpus_size,
        )

    def to_mine(self, num_relations: int) -> int:
        """Give how many documents a miner has to find for a query: one more where the best becomes the positive."""
        return num_relations if any(self.positives) else num_relations + 1


def candidates(found: Sequence[Found]) -> list[list[int]]:
    """Give the documents that the miners found for each query, each once, by reciprocal rank fusion."""
    ranked = []
    for rows in zip(*(one.documents.tolist() for one in found), strict=True):
        points: dict[int, float] = {}
        for row in rows:
            for rank, document in enumerate(row):
                if document >= 0:
                    points[document] = points.get(document, 0.0) + 1 / (_RANK_OFFSET + rank)
        ranked.append(sorted(points, key=lambda document: (-points[document], document)))
    return ranked


def pairs(texts: Texts, mined: Sequence[Sequence[int]]) -> Pairs:
    """Give each pair of a query and a document that needs a score: known positives first, then what was mined."""
    flat = (
        number
        for query, found in enumerate(mined)
        for document in (*texts.positives[query], *found)
        for number in (query, document)
    )
    return np.fromiter(flat, dtype=np.int64).reshape(-1, 2)


def rows(texts: Texts, mined: Sequence[Sequence[int]], scores: Scores) -> Iterator[Row]:
    """Give the rows of training data, the queries in their order.

    The positive is the one that is known; without, the mined document with the highest score. Each other mined
    document is a negative, and the margin says how much lower its score is.

    Args:
        texts: Queries and documents.
        mined: For each query the documents that were found.
        scores: One a pair, in the order of `pairs`.
    """
    place = 0
    for query, found in enumerate(mined):
        documents = (*texts.positives[query], *found)
        score = dict(zip(documents, scores[place : place + len(documents)].tolist(), strict=True))
        place += len(documents)
        best = [max(found, key=score.__getitem__)] if found else []
        for positive in texts.positives[query] or best:
            for negative in found:
                if negative != positive:
                    margin = round(score[positive] - score[negative], 6)
                    yield texts.queries[query], texts.documents[positive], texts.documents[negative], margin
