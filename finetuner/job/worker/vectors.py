"""Vectors of many texts, in a file: memory holds those of one block at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from finetuner.errors import FinetunerError

BLOCK_TEXTS: Final = 512
"""Texts that are encoded between two writes; they are sorted by length, so that little is padding."""
_BATCH_TEXTS: Final = 64


class VectorsNotFiniteError(FinetunerError):
    """A model gave vectors that are infinite or no numbers."""


class Vectors:
    """n vectors of length 1, float32, in a file that is read where it is needed.

    Args:
        path: The file: n times dim numbers.
        dim: Length of a vector.
    """

    def __init__(self, path: Path, dim: int) -> None:
        self._values = np.memmap(path, dtype=np.float32, mode="r").reshape(-1, dim)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self._values.shape[1])

    def block(self, start: int, stop: int) -> Tensor:
        """Give consecutive vectors, of shape (stop - start, dim)."""
        return torch.from_numpy(np.array(self._values[start:stop]))

    def rows(self, indices: Tensor) -> Tensor:
        """Give vectors by their numbers, of shape (len(indices), dim)."""
        return torch.from_numpy(np.array(self._values[indices.numpy()]))


def encode(
    model: SentenceTransformer, texts: Sequence[str], path: Path, *, on_block: Callable[[int], None] = lambda _: None
) -> Vectors:
    """Encode texts into a file of vectors, each scaled to the length 1: their dot product is the cosine.

    Args:
        model: What encodes them.
        texts: n texts, 1 or more.
        path: The file to write.
        on_block: Called with the number of texts of each block that was written.

    Raises:
        VectorsNotFiniteError: A vector is infinite or no number.
        OSError: There is no room.
    """
    dim = 0
    with path.open("wb") as file:
        for start in range(0, len(texts), BLOCK_TEXTS):
            block = list(texts[start : start + BLOCK_TEXTS])
            found: Tensor = model.encode(
                block, batch_size=_BATCH_TEXTS, convert_to_tensor=True, show_progress_bar=False
            )
            vectors = torch.nn.functional.normalize(found.float(), dim=1).cpu().numpy()
            if not np.isfinite(vectors).all():
                raise VectorsNotFiniteError("the model gives vectors that are infinite or no numbers: its weights are")
            file.write(vectors.tobytes())
            dim = vectors.shape[1]
            on_block(len(block))
    return Vectors(path, dim)
