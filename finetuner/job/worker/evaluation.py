"""Carry out an `EvaluationCallback`: search the queries in the index, before and after training."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any, Final

import attrs
import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from finetuner.api.callbacks import METRIC_NAMES, metric_prefix
from finetuner.api.checks import check_evaluation_kind
from finetuner.callback import EvaluationCallback
from finetuner.data import DataSet
from finetuner.errors import InvalidInput
from finetuner.job.worker.metrics import Ranking, Relevant, ranking_metrics

_BLOCK: Final = 256
"""Queries that are compared with the index at a time: what bounds the memory."""


class Encoder:
    """A model that encodes the same texts once: several callbacks often share their queries."""

    def __init__(self, model: SentenceTransformer) -> None:
        self._model = model
        self._known: dict[tuple[str, ...], torch.Tensor] = {}

    def encode(self, texts: list[str], batch_size: int) -> torch.Tensor:
        """Give one float32 vector a text, as one tensor of shape (n, dim)."""
        key = tuple(texts)
        if key not in self._known:
            vectors: torch.Tensor = self._model.encode(
                texts, batch_size=batch_size, convert_to_tensor=True, show_progress_bar=False
            )
            self._known[key] = vectors.float()
        return self._known[key]


@attrs.frozen(kw_only=True)
class Evaluation:
    """The queries and the index of one callback."""

    callback: EvaluationCallback
    model_name: str
    queries: list[str]
    index: list[str]
    relevant: list[Relevant]
    """For each query the positions in the index that are relevant."""
    excluded: list[int] | None
    """For each query the position in the index that is the query itself; None: no query is in the index."""
    query_labels: list[str] | None = None
    index_labels: list[str] | None = None

    @property
    def unanswerable(self) -> int:
        """Number of queries with nothing relevant in the index."""
        return sum(not len(one) for one in self.relevant)

    def prefix(self) -> str:
        """Give what stands before each metric's name."""
        return metric_prefix(self.callback.caption, self.model_name if self.callback.output_model_names else None)

    def run(self, encoder: Encoder) -> tuple[dict[str, float], list[dict[str, Any]]]:
        """Give the metrics, with the prefix, and the example results."""
        queries, index = (self._encode(encoder, texts) for texts in (self.queries, self.index))
        totals = dict.fromkeys(METRIC_NAMES, 0.0)
        examples: list[dict[str, Any]] = []
        for start in range(0, len(self.queries), _BLOCK):
            block = range(start, min(start + _BLOCK, len(self.queries)))
            scores = self._scores(queries[block.start : block.stop], index)
            ranked = self._ranked(scores, block)
            relevant = [self.relevant[query] for query in block]
            for name, values in ranking_metrics(ranked, relevant, self.callback.limit).items():
                totals[name] += float(values.sum())
            if self.callback.gather_examples:
                wanted = self.callback.num_example_queries - len(examples)
                examples += [
                    self._example(query, ranked[query - start], scores[query - start]) for query in block[:wanted]
                ]
        prefix = self.prefix()
        return {f"{prefix}{name}": total / len(self.queries) for name, total in totals.items()}, examples

    def _encode(self, encoder: Encoder, texts: list[str]) -> torch.Tensor:
        vectors = encoder.encode(texts, self.callback.batch_size)
        return torch.nn.functional.normalize(vectors, dim=1) if self.callback.distance == "cosine" else vectors

    def _scores(self, queries: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        if self.callback.distance in {"cosine", "dot"}:
            return queries @ index.T
        distance = torch.cdist(queries, index)
        return -(distance.square() if self.callback.distance == "sqeuclidean" else distance)

    def _ranked(self, scores: torch.Tensor, block: range) -> list[Ranking]:
        if self.excluded is not None:
            own = torch.tensor([self.excluded[query] for query in block], device=scores.device)
            scores.scatter_(1, own[:, None], -torch.inf)
        found = len(self.index) - (self.excluded is not None)
        depths = [min(found, max(self.callback.limit, len(self.relevant[query]))) for query in block]
        order = torch.topk(scores, max(depths), dim=1).indices.cpu().numpy()
        return [row[:depth] for row, depth in zip(order, depths, strict=True)]

    def _example(self, query: int, ranked: Ranking, scores: torch.Tensor) -> dict[str, Any]:
        relevant = {int(one) for one in self.relevant[query]}
        return {
            "query": _item(self.queries, self.query_labels, query),
            "results": [
                {
                    **_item(self.index, self.index_labels, int(document)),
                    "score": round(float(scores[int(document)]), 6),
                    "relevant": int(document) in relevant,
                }
                for document in ranked[: self.callback.limit]
            ],
        }


def _item(texts: list[str], labels: list[str] | None, position: int) -> dict[str, Any]:
    item = {"text": texts[position]}
    return item if labels is None else {**item, "label": labels[position]}


def make_evaluation(
    callback: EvaluationCallback, queries: DataSet, index: DataSet | None, *, model_name: str, seed: int
) -> Evaluation:
    """Pair a callback with its data.

    Args:
        callback: What to measure.
        queries: Texts with labels; without an index also pairs, whose second texts are the index then.
        index: Texts with labels, or None.
        model_name: For metric names that carry it.
        seed: Decides which queries are drawn for `query_sample_size`.

    Raises:
        InvalidInput: The data has not two columns, or nothing could be found in it.
    """
    for name, data in (("query_data", queries), ("index_data", index)):
        if data is not None:
            check_evaluation_kind(name, data.kind)
    if index is not None:
        made = _in_index(queries, index)
    elif queries.kind == "pairs":
        made = _in_positives(queries)
    else:
        made = _among_themselves(queries, exclude_self=callback.exclude_self)
    if not any(len(one) for one in made["relevant"]):
        raise InvalidInput("no query has anything relevant in the index: the labels of the two never match")
    size = callback.query_sample_size
    if size is not None and size < len(made["queries"]):
        drawn = sorted(random.Random(seed).sample(range(len(made["queries"])), size))  # noqa: S311 - reproducible
        for name in ("queries", "relevant", "excluded", "query_labels"):
            if made.get(name) is not None:
                made[name] = [made[name][position] for position in drawn]
    return Evaluation(callback=callback, model_name=model_name, **made)


def _positions(labels: list[str]) -> dict[str, Relevant]:
    found: dict[str, list[int]] = defaultdict(list)
    for position, label in enumerate(labels):
        found[label].append(position)
    return {label: np.array(positions, dtype=np.int64) for label, positions in found.items()}


def _in_index(queries: DataSet, index: DataSet) -> dict[str, Any]:
    positions, nothing = _positions(index.column(1)), np.zeros(0, dtype=np.int64)
    return {
        "queries": queries.column(0),
        "index": index.column(0),
        "relevant": [positions.get(label, nothing) for label in queries.column(1)],
        "excluded": None,
        "query_labels": queries.column(1),
        "index_labels": index.column(1),
    }


def _in_positives(queries: DataSet) -> dict[str, Any]:
    index = list(dict.fromkeys(queries.column(1)))
    position = {text: number for number, text in enumerate(index)}
    wanted: dict[str, dict[int, None]] = defaultdict(dict)
    for anchor, positive in queries.rows:
        wanted[anchor][position[positive]] = None
    return {
        "queries": list(wanted),
        "index": index,
        "relevant": [np.array(list(one), dtype=np.int64) for one in wanted.values()],
        "excluded": None,
    }


def _among_themselves(queries: DataSet, *, exclude_self: bool) -> dict[str, Any]:
    labels = queries.column(1)
    positions = _positions(labels)
    relevant = [positions[label] for label in labels]
    if exclude_self:
        relevant = [one[one != own] for own, one in enumerate(relevant)]
    return {
        "queries": queries.column(0),
        "index": queries.column(0),
        "relevant": relevant,
        "excluded": list(range(len(labels))) if exclude_self else None,
        "query_labels": labels,
        "index_labels": labels,
    }
