"""What of a model is trained: all of it, or with `freeze` its last layer; and the layer that `output_dim` adds."""

from __future__ import annotations

import attrs
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize
from torch import nn

from finetuner.api.config import ModelConfig
from finetuner.errors import InvalidInput


@attrs.frozen(kw_only=True)
class Trainable:
    """What is trained."""

    layer: str
    """For people: what it is."""
    weights: int
    of_weights: int
    """All that the model has."""

    def __str__(self) -> str:
        return f"training {self.layer}: {self.weights:,} of {self.of_weights:,} weights"


def prepare_layers(model: SentenceTransformer, config: ModelConfig) -> Trainable:
    """Add the layer that a run asks for, and freeze what it does not train.

    `output_dim` adds a linear layer behind the pooling, before a last normalization. `freeze` trains that layer alone;
    without `output_dim` the linear layer that the model ends with, or, where it has none, a new one that at first
    changes nothing.

    Args:
        model: Changed in place.
        config: What is asked for.

    Raises:
        InvalidInput: The model says not how long its vectors are.
    """
    if not config.freeze and config.output_dim is None:
        return _counted(model, "the whole model")
    place = len(model)
    while place and isinstance(model[place - 1], Normalize):
        place -= 1
    last = model[place - 1] if place else None
    if config.output_dim is None and isinstance(last, Dense):
        name, layer = "the linear layer that the model ends with", last
    else:
        layer = _dense(model, config.output_dim)
        model.insert(place, layer)
        name = f"an added linear layer of {layer.out_features} outputs"
    if config.freeze:
        model.requires_grad_(requires_grad=False)
        layer.requires_grad_(requires_grad=True)
        return _counted(model, f"{name}, the rest frozen")
    return _counted(model, f"the whole model with {name}")


def _dense(model: SentenceTransformer, output_dim: int | None) -> Dense:
    """Make a linear layer that keeps angles as well as its size allows: all of them where it is no smaller."""
    dim = model.get_embedding_dimension()
    if not dim:
        raise InvalidInput("this model does not say how long its vectors are: freeze and output_dim cannot be used")
    wanted = output_dim or int(dim)
    weights = torch.eye(wanted) if wanted == dim else nn.init.orthogonal_(torch.empty(wanted, int(dim)))
    return Dense(
        in_features=int(dim),
        out_features=wanted,
        activation_function=nn.Identity(),
        init_weight=weights,
        init_bias=torch.zeros(wanted),
    ).to(model.device)


def _counted(model: SentenceTransformer, layer: str) -> Trainable:
    sizes = [(weights.numel(), weights.requires_grad) for weights in model.parameters()]
    return Trainable(
        layer=layer,
        weights=sum(size for size, is_trained in sizes if is_trained),
        of_weights=sum(size for size, _ in sizes),
    )
