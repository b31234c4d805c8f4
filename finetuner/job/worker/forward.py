"""The model's forward pass over one column of a batch, without much padding."""

from __future__ import annotations

from typing import Any, Final

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

_CHUNKS: Final = 4


def embed(model: SentenceTransformer, features: dict[str, Any]) -> Tensor:
    """Encode a column's tokens: one vector a row.

    On a CPU, where each padding token costs as much as any other, the rows are sorted by length and go through the
    model in a few chunks, each as wide as its longest row. The vectors are the same.

    Args:
        model: The model being trained.
        features: What its tokenizer made: tensors of shape (n, width), padded.
    """
    mask = features.get("attention_mask")
    if model.device.type != "cpu" or not isinstance(mask, Tensor) or not _is_padded_right(mask):
        vectors: Tensor = model(features)["sentence_embedding"]
        return vectors
    lengths = mask.sum(dim=1)
    order = lengths.argsort()
    parts = [
        model(_trimmed(features, rows, int(lengths[rows].max()), mask.shape))["sentence_embedding"]
        for rows in order.chunk(_CHUNKS)
    ]
    return torch.cat(parts)[order.argsort()]


def _is_padded_right(mask: Tensor) -> bool:
    return mask.ndim == 2 and len(mask) > 1 and bool((mask[:, :-1] >= mask[:, 1:]).all()) and bool(mask[:, 0].all())


def _trimmed(features: dict[str, Any], rows: Tensor, width: int, shape: torch.Size) -> dict[str, Any]:
    """Take some rows of all that has the mask's shape; what has another one holds for every row."""
    return {
        name: value[rows, :width] if isinstance(value, Tensor) and value.shape == shape else value
        for name, value in features.items()
    }
