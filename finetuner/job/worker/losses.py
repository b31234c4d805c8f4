"""Losses and miners by name, made to work with the trainer."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from sentence_transformers import SentenceTransformer, util
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import Tensor, nn

from finetuner.api import catalog
from finetuner.api.catalog import RANKING_LOSS, Entry
from finetuner.errors import InvalidInput
from finetuner.job.worker.forward import embed


class MaskedRankingLoss(MultipleNegativesRankingLoss):
    """Multiple negatives ranking that never takes a right answer for a negative.

    Another row's positive is left out where it is the same text as the row's own positive or anchor, or belongs to the
    same anchor. `labels` has a row for each example and a column for each text: equal ids are equal texts.
    """

    def __init__(self, model: SentenceTransformer, **options: Any) -> None:
        super().__init__(model, similarity_fct=self._masked_similarity, **options)
        self._wrong: Tensor | None = None

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """Give the loss of a batch: tokens of each column, and the texts' ids."""
        embeddings = [embed(self.model, features) for features in sentence_features]
        return self.compute_loss_from_embeddings(embeddings, labels)

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor) -> Tensor:
        """Give the loss of a batch of which anchors, positives and perhaps negatives are encoded."""
        self._wrong = false_negatives(labels)
        return super().compute_loss_from_embeddings(embeddings, labels)

    def _masked_similarity(self, queries: Tensor, documents: Tensor) -> Tensor:
        similarity: Tensor = util.cos_sim(queries, documents)
        return similarity if self._wrong is None else similarity.masked_fill(self._wrong, -torch.inf)


def false_negatives(ids: Tensor) -> Tensor:
    """Say which documents of a batch must not count as negatives of which row.

    Args:
        ids: (n, columns); the columns are anchor, positive and perhaps negatives; equal ids are equal texts.

    Returns:
        (n, n * (columns - 1)), in the order in which the loss has its documents: all positives, then all negatives.
        A row's own positive is never marked.
    """
    anchors, positives = ids[:, :1], ids[:, 1:2]
    documents = ids[:, 1:].T.reshape(1, -1)
    wrong = (documents == positives) | (documents == anchors)
    rows = len(ids)
    wrong[:, :rows] |= anchors == anchors.T
    own = torch.arange(rows, device=ids.device)
    wrong[own, own] = False
    return wrong


class MetricLoss(nn.Module):
    """A loss of pytorch-metric-learning, with its miner, over all texts of a batch."""

    def __init__(self, model: SentenceTransformer, loss: nn.Module, miner: nn.Module | None = None) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.miner = miner

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """Give the loss of a batch.

        Args:
            sentence_features: Tokens of each column.
            labels: (n, columns): the class of each text.
        """
        embeddings = torch.cat([embed(self.model, features) for features in sentence_features])
        classes = labels.T.reshape(-1)
        found = None if self.miner is None else self.miner(embeddings, classes)
        value: Tensor = self.loss(embeddings, classes, found)
        return value


def make_loss(
    model: SentenceTransformer,
    name: str,
    options: Mapping[str, Any],
    miner: str | None = None,
    miner_options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Make a loss, and its miner, by name.

    Raises:
        InvalidInput: A name or an option is unknown, or the two do not go together.
    """
    entry = catalog.check("loss", name, options)
    if name == RANKING_LOSS:
        if miner is not None:
            raise InvalidInput(f"{name} takes its negatives from the batch; leave the miner {miner!r} out")
        return _make(entry, options, functools.partial(MaskedRankingLoss, model))
    found = None
    if miner is not None:
        chosen = catalog.check("miner", miner, miner_options)
        found = _make(chosen, miner_options or {}, _imported(chosen))
    return MetricLoss(model, _make(entry, options, _imported(entry)), found)


def _imported(entry: Entry) -> Callable[..., nn.Module]:
    module, _, name = entry.source.partition(":")
    kind: Callable[..., nn.Module] = getattr(importlib.import_module(module), name)
    return kind


def _make(entry: Entry, options: Mapping[str, Any], kind: Callable[..., nn.Module]) -> nn.Module:
    try:
        return kind(**_made_from(entry, options))
    except (AssertionError, TypeError, ValueError) as error:
        raise InvalidInput(f"the {entry.kind} {entry.name!r} refuses its options {dict(options)}: {error}") from error


def _made_from(entry: Entry, options: Mapping[str, Any]) -> dict[str, Any]:
    """Give JSON's values the types the library has: it takes tuples where JSON has lists."""
    defaults = {option.name: option for option in entry.options}
    return {
        name: tuple(value) if defaults[name].type == "list" and isinstance(value, list) else value
        for name, value in options.items()
    }
