"""The losses of pytorch-metric-learning over the texts of a batch, and what some of them need besides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import torch
from pytorch_metric_learning.distances import CosineSimilarity
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from finetuner.job.worker.forward import embed

_ROUNDING: Final = 1e-6


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
        return self.value(embeddings, labels.T.reshape(-1))

    def value(self, embeddings: Tensor, classes: Tensor) -> Tensor:
        """Give the loss of n embeddings with their classes."""
        found = None if self.miner is None else self.miner(embeddings, classes)
        value: Tensor = self.loss(embeddings, classes, found)
        return value


class BalancedLoss(MetricLoss):
    """SmoothAP, which takes equally many texts of each class, one class after the other."""

    def value(self, embeddings: Tensor, classes: Tensor) -> Tensor:
        """Give the loss of the largest part of the batch that is balanced; 0 where no two texts share a class."""
        kept = balanced(classes)
        if not len(kept):
            return embeddings.sum() * 0.0
        return super().value(embeddings[kept], classes[kept])


class InstanceClassLoss(MetricLoss):
    """InstanceLoss, which compares each text with the one that stands in the batch at its class's number."""

    def value(self, embeddings: Tensor, classes: Tensor) -> Tensor:
        """Give the loss of the batch with one text of each class at its beginning, in the classes' order."""
        order = representatives_first(classes)
        return super().value(embeddings[order], classes[order])


class ForgetfulLoss(MetricLoss):
    """DynamicSoftMargin, whose running histogram would keep every earlier step's graph."""

    def __init__(self, model: SentenceTransformer, loss: Any, miner: nn.Module | None = None) -> None:
        super().__init__(model, loss, miner)
        loss.hist_ = torch.zeros(loss.num_bins + 2)  # the library's own lacks the place of the worst triplets

    def value(self, embeddings: Tensor, classes: Tensor) -> Tensor:
        """Give the loss of a batch, and keep the histogram's numbers alone; those of training alone too."""
        before = self.loss.hist_
        value = super().value(embeddings, classes)
        self.loss.hist_ = self.loss.hist_.detach() if self.training else before
        return value


class MetaClassLoss(MetricLoss):
    """ManifoldLoss, whose proxies stand for groups of classes: a class belongs to the same group in each step."""

    def value(self, embeddings: Tensor, classes: Tensor) -> Tensor:
        """Give the loss of n embeddings, each assigned to the proxy of its class."""
        value: Tensor = self.loss(embeddings, None, classes % len(self.loss.proxies))
        return value.squeeze()


class TwoViewLoss(MetricLoss):
    """VICReg, which takes two texts that belong together and never tells them from others."""

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:  # noqa: ARG002 - all losses are called alike
        """Give the loss of a batch of pairs."""
        first, second = (embed(self.model, features) for features in sentence_features)
        value: Tensor = self.loss(first, ref_emb=second)
        return value


class _ClampedCosine(CosineSimilarity):
    """Cosines that stay within -1 and 1 where rounding would not keep them: equal texts are common in a batch."""

    def compute_mat(self, query_emb: Tensor, ref_emb: Tensor) -> Tensor:
        """Give the cosines of all pairs."""
        return super().compute_mat(query_emb, ref_emb).clamp(-1 + _ROUNDING, 1 - _ROUNDING)

    def pairwise_distance(self, query_emb: Tensor, ref_emb: Tensor) -> Tensor:
        """Give the cosines of pairs."""
        return super().pairwise_distance(query_emb, ref_emb).clamp(-1 + _ROUNDING, 1 - _ROUNDING)


def clamped_cosine() -> nn.Module:
    """Give the cosine as a distance that no rounding takes out of its bounds."""
    return _ClampedCosine()


CLAMPED: Final = {"HistogramLoss", "TupletMarginLoss"}
"""Losses that fail, or become no number, at a cosine of 1."""
WRAPPERS: Final[Mapping[str, type[MetricLoss]]] = {
    "DynamicSoftMarginLoss": ForgetfulLoss,
    "InstanceLoss": InstanceClassLoss,
    "ManifoldLoss": MetaClassLoss,
    "SmoothAPLoss": BalancedLoss,
    "VICRegLoss": TwoViewLoss,
}
"""What stands around a loss that a plain `MetricLoss` does not suit."""


def balanced(classes: Tensor) -> Tensor:
    """Choose the most texts of which each class has equally many, two at least: their places, class by class."""
    order = classes.argsort(stable=True)
    _, counts = classes.unique(return_counts=True)
    sizes = counts.unique()
    kept = torch.stack([size * (counts >= size).sum() if size > 1 else size * 0 for size in sizes])
    size = sizes[kept.argmax()]
    if size < 2:
        return order[:0]
    rank = torch.cat([torch.arange(int(count), device=classes.device) for count in counts])
    enough = (counts >= size).repeat_interleave(counts)
    return order[enough & (rank < size)]


def representatives_first(classes: Tensor) -> Tensor:
    """Order places so that the first text of each class comes first, in the order of the classes."""
    order = classes.argsort(stable=True)
    _, counts = classes.unique(return_counts=True)
    is_first = torch.zeros(len(classes), dtype=torch.bool, device=classes.device)
    is_first[counts.cumsum(0) - counts] = True
    return torch.cat([order[is_first], order[~is_first]])
