"""How well a query and a document go together: by the cosine of their vectors, or by a cross encoder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers import CrossEncoder

from finetuner.errors import InvalidInput, NotFound
from finetuner.job.worker.vectors import Vectors, VectorsNotFiniteError

BLOCK_PAIRS: Final = 2048
_BATCH_PAIRS: Final = 64
_PAIR_CLASSES: Final = ("ForSequenceClassification", "ForCausalLM")
"""What classes of models that read two texts at once end with; any other would get random weights for its scores."""

Pairs: TypeAlias = npt.NDArray[np.int64]
"""(n, 2): the numbers of a query and of a document."""
Scores: TypeAlias = npt.NDArray[np.float64]
"""One a pair."""


def cosine_scores(
    queries: Vectors, documents: Vectors, pairs: Pairs, *, on_block: Callable[[int], None] = lambda _: None
) -> Scores:
    """Give the cosine of each pair's vectors, from -1 to 1."""
    scores = np.zeros(len(pairs))
    for start in range(0, len(pairs), BLOCK_PAIRS):
        ours, theirs = torch.from_numpy(pairs[start : start + BLOCK_PAIRS]).T
        scores[start : start + BLOCK_PAIRS] = (queries.rows(ours) * documents.rows(theirs)).sum(dim=1).numpy()
        on_block(len(ours))
    return scores


def open_cross_encoder(folder: Path, device: str) -> CrossEncoder:
    """Load a cross encoder whose scores are from 0 to 1: the sigmoid of what it gives.

    Raises:
        NotFound: The folder holds no model.
        InvalidInput: It is no cross encoder, or one that gives several scores.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise NotFound(f"{folder} holds no cross encoder: config.json is not in it")
    names = json.loads(path.read_text(encoding="utf-8")).get("architectures") or ["nothing"]
    if not str(names[0]).endswith(_PAIR_CLASSES):
        raise InvalidInput(
            f"{folder} is no cross encoder: it is a {names[0]}, which gives no score for a pair. An embedding model is "
            "given as the last relation miner, with cross_encoder=None"
        )
    model = CrossEncoder(
        str(folder),
        device=device,
        local_files_only=True,
        model_kwargs={"use_safetensors": True},
        activation_fn=torch.nn.Sigmoid(),
    )
    if model.num_labels != 1:
        raise InvalidInput(f"the cross encoder in {folder} gives {model.num_labels} scores for a pair; one is needed")
    return model


def cross_scores(
    model: CrossEncoder,
    queries: Sequence[str],
    documents: Sequence[str],
    pairs: Pairs,
    *,
    on_block: Callable[[int], None] = lambda _: None,
) -> Scores:
    """Give a cross encoder's score of each pair of texts, from 0 to 1.

    Raises:
        VectorsNotFiniteError: A score is no number.
    """
    scores = np.zeros(len(pairs))
    # Pairs of about the same length go together: what is padded costs as much as what is read.
    lengths = [np.array([len(text) for text in texts]) for texts in (queries, documents)]
    order = np.argsort(lengths[0][pairs[:, 0]] + lengths[1][pairs[:, 1]], kind="stable")
    for start in range(0, len(order), BLOCK_PAIRS):
        places = order[start : start + BLOCK_PAIRS]
        texts = [(queries[query], documents[document]) for query, document in pairs[places].tolist()]
        found: Any = model.predict(texts, batch_size=_BATCH_PAIRS, show_progress_bar=False, convert_to_numpy=True)
        if not np.isfinite(found).all():
            raise VectorsNotFiniteError("the cross encoder gives scores that are no numbers: its weights are none")
        scores[places] = found
        on_block(len(places))
    return scores
