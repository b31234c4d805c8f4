"""A model's weights, kept apart from it."""

from __future__ import annotations

from collections.abc import Mapping

from sentence_transformers import SentenceTransformer
from torch import Tensor

Weights = Mapping[str, Tensor]
"""A model's parameters and buffers by name, in the machine's memory."""


def copied(model: SentenceTransformer) -> Weights:
    """Give a copy of a model's weights that training does not change."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()}


def put_back(model: SentenceTransformer, weights: Weights) -> None:
    """Give a model the weights of a copy."""
    model.load_state_dict(dict(weights))


def mixed(original: Weights, tuned: Weights, alpha: float) -> Weights:
    """Give `(1 - alpha) * original + alpha * tuned`; what is no fraction, such as a position, is the tuned one's."""
    return {
        name: (1 - alpha) * original[name] + alpha * tensor if tensor.is_floating_point() else tensor
        for name, tensor in tuned.items()
    }
