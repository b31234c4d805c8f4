"""Losses and miners by name, made to work with the trainer."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import torch
from sentence_transformers import SentenceTransformer, util
from sentence_transformers.sentence_transformer.losses import (
    CosineSimilarityLoss,
    MarginMSELoss,
    MultipleNegativesRankingLoss,
)
from torch import Tensor, nn

from finetuner.api import catalog
from finetuner.api.catalog import RANKING_LOSS, Entry
from finetuner.errors import InvalidInput
from finetuner.job.worker.forward import embed
from finetuner.job.worker.metric_losses import CLAMPED, WRAPPERS, MetricLoss, clamped_cosine


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


class MarginLoss(MarginMSELoss):
    """Margin MSE: the model's own margin between two answers to a query comes near the one that is given.

    Args:
        model: The model being trained.
        similarity: `dot`, as the library has it, or `cosine`.
        scale: What the similarity is multiplied with. Margins of a cross-encoder are wider than those that a model
            whose vectors have length 1 can reach.
    """

    def __init__(self, model: SentenceTransformer, similarity: str = "dot", scale: float = 1.0) -> None:
        function = util.pairwise_dot_score if similarity == "dot" else util.pairwise_cos_sim
        super().__init__(model, similarity_fct=lambda first, second: scale * function(first, second))

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """Give the loss of a batch: tokens of query, positive and negative, and the margins."""
        embeddings = [embed(self.model, features) for features in sentence_features]
        return self.compute_loss_from_embeddings(embeddings, labels)


class CosineLoss(CosineSimilarityLoss):
    """The cosine of two texts comes near their score."""

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """Give the loss of a batch: tokens of both texts, and the scores."""
        embeddings = [embed(self.model, features) for features in sentence_features]
        return self.compute_loss_from_embeddings(embeddings, labels)


SENTENCE_LOSSES: Final[Mapping[str, Callable[..., nn.Module]]] = {
    RANKING_LOSS: MaskedRankingLoss,
    "MarginMSELoss": MarginLoss,
    "CosineSimilarityLoss": CosineLoss,
}
"""Losses of sentence-transformers."""


def make_loss(
    model: SentenceTransformer,
    name: str,
    options: Mapping[str, Any],
    miner: str | None = None,
    miner_options: Mapping[str, Any] | None = None,
    *,
    classes: int = 0,
) -> nn.Module:
    """Make a loss, and its miner, by name.

    Args:
        model: The model to train.
        name: Of the loss.
        options: Of the loss.
        miner: Name of the miner.
        miner_options: Of the miner.
        classes: Number of classes in the data: what the weights of some losses stand for.

    Raises:
        InvalidInput: A name or an option is unknown, or the two do not go together.
    """
    entry = catalog.check("loss", name, options)
    if miner is not None and not entry.takes_miner:
        raise InvalidInput(f"{name} takes all of a batch as it is; leave the miner {miner!r} out")
    if name in SENTENCE_LOSSES:
        return _make(entry, options, functools.partial(SENTENCE_LOSSES[name], model), {})
    found = None
    if miner is not None:
        chosen = catalog.check("miner", miner, miner_options)
        found = _make(chosen, miner_options or {}, _imported(chosen), {})
    given = _given(entry, options, classes, int(model.get_embedding_dimension() or 0))
    made = _make(entry, options, _imported(entry), given)
    return WRAPPERS.get(name, MetricLoss)(model, made, found)


def own_parameters(loss: nn.Module) -> list[nn.Parameter]:
    """Give the weights of a loss that are not the model's."""
    return [weights for name, weights in loss.named_parameters() if not name.startswith("model.")]


def _given(entry: Entry, options: Mapping[str, Any], classes: int, dim: int) -> dict[str, Any]:
    """Give what a loss is told that is no option: above all what the shape of its weights depends on.

    Raises:
        InvalidInput: There are too few classes.
    """
    known = {"num_classes": classes, "embedding_size": dim, "descriptors_dim": dim, "l": dim}
    given: dict[str, Any] = {name: known[name] for name in entry.given}
    if entry.name in CLAMPED:
        given["distance"] = clamped_cosine()
    if entry.given and classes < 2:
        raise InvalidInput(f"{entry.name} tells classes apart; the data has {classes}, and needs 2 at least")
    groups = options.get("K")
    if groups is not None and not 2 <= groups <= classes:
        raise InvalidInput(f"option 'K' of the loss {entry.name!r} must be from 2 to the {classes} classes of the data")
    if groups is None and any(option.name == "K" for option in entry.options):
        given["K"] = min(50, classes)
    return given


def _imported(entry: Entry) -> Callable[..., nn.Module]:
    module, _, name = entry.source.partition(":")
    kind: Callable[..., nn.Module] = getattr(importlib.import_module(module), name)
    return kind


def _make(
    entry: Entry, options: Mapping[str, Any], kind: Callable[..., nn.Module], given: Mapping[str, Any]
) -> nn.Module:
    try:
        return kind(**{**_made_from(entry, {**entry.defaults(), **options}), **given})
    except (AssertionError, TypeError, ValueError) as error:
        raise InvalidInput(f"the {entry.kind} {entry.name!r} refuses its options {dict(options)}: {error}") from error


def _made_from(entry: Entry, options: Mapping[str, Any]) -> dict[str, Any]:
    """Give JSON's values the types the library has: it takes tuples where JSON has lists."""
    defaults = {option.name: option for option in entry.options}
    return {
        name: tuple(value) if defaults[name].type == "list" and isinstance(value, list) else value
        for name, value in options.items()
    }
