"""Export the trained model to ONNX beside its own weights, and compare what the two make of the same texts."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Final

import attrs
import numpy as np
import orjson
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from finetuner.api.models import ONNX_MISSING
from finetuner.errors import FinetunerError, InvalidInput, MissingExtra
from finetuner.onnx_model import FOLDER, MODEL_FILE, OUTPUT, TOKENS_FILE, OnnxBackend, Tokens

TOLERANCE: Final = 1e-4
"""The largest difference of two numbers of an embedding, as a share of the longest embedding."""
SAMPLE: Final = 64
"""Texts that are compared."""
_INPUTS: Final = ("input_ids", "attention_mask", "token_type_ids")
_PACKAGES: Final = ("onnx", "onnxscript", "onnxruntime", "tokenizers")


class OnnxExportError(FinetunerError):
    """The model cannot be brought into ONNX, or gives other embeddings there."""

    hint: ClassVar[str] = "train without to_onnx, or begin with another model"


@attrs.frozen(kw_only=True)
class OnnxCheck:
    """How the exported model compares."""

    texts: int
    difference: float
    """The largest, as a share of the longest embedding."""
    size_bytes: int

    def __str__(self) -> str:
        return (
            f"exported to ONNX: {self.size_bytes / 1e6:.1f} MB; embeddings of {self.texts} texts differ by "
            f"{self.difference:.1e} at most"
        )


def check_packages() -> None:
    """Refuse a run whose model could not be exported, before it trains.

    Raises:
        MissingExtra: A package is not installed.
    """
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise MissingExtra(f"{ONNX_MISSING} (not installed: {', '.join(missing)})")


def export_onnx(model: SentenceTransformer, folder: Path, texts: Sequence[str]) -> OnnxCheck:
    """Write the model in ONNX into a saved model's folder.

    Args:
        model: As it was trained.
        folder: Where it was saved, its tokenizer too.
        texts: Some to compare embeddings of.

    Raises:
        OnnxExportError: It cannot be exported, or its embeddings differ.
        InvalidInput: It takes something else than tokens.
    """
    target = folder / FOLDER
    target.mkdir()
    plain = copy.deepcopy(model).to("cpu").float().eval()
    names = _inputs(plain)
    (target / TOKENS_FILE).write_bytes(orjson.dumps(attrs.asdict(_tokens(plain, names))))
    try:
        _export(plain, names, target / MODEL_FILE)
    except Exception as error:  # the exporter raises errors of many kinds, and any means the same
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise OnnxExportError(f"this model cannot be exported to ONNX: {lines[0][:300]}") from error
    sample = [*dict.fromkeys(texts)][:SAMPLE]
    difference = _difference(plain, OnnxBackend(folder, "cpu"), sample)
    if not difference <= TOLERANCE:
        raise OnnxExportError(
            f"the model in ONNX gives other embeddings: they differ by {difference:.1e}, and may by {TOLERANCE:.0e}"
        )
    size = (target / MODEL_FILE).stat().st_size
    return OnnxCheck(texts=len(sample), difference=difference, size_bytes=size)


class _Whole(nn.Module):
    """All modules of a model, from the tokens' tensors to the embeddings."""

    def __init__(self, model: SentenceTransformer, names: list[str]) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, *tensors: Tensor) -> Tensor:
        features: dict[str, Any] = dict(zip(self.names, tensors, strict=True))
        embeddings: Tensor = self.model(features)["sentence_embedding"]
        return embeddings


def _inputs(model: SentenceTransformer) -> list[str]:
    names = [name for name, value in model.preprocess(["a"]).items() if isinstance(value, Tensor)]
    other = sorted(set(names) - set(_INPUTS))
    if other or not names:
        raise InvalidInput(f"to_onnx takes models of text tokens; this one takes {', '.join(other) or 'none'} too")
    return names


def _tokens(model: SentenceTransformer, names: list[str]) -> Tokens:
    tokenizer: Any = model.tokenizer
    prompts, default = model.prompts or {}, model.default_prompt_name
    return Tokens(
        inputs=names,
        max_length=None if model.max_seq_length is None else int(model.max_seq_length),
        pad_id=int(tokenizer.pad_token_id),
        pad_token=str(tokenizer.pad_token),
        padding_side=str(tokenizer.padding_side),
        prompt=prompts.get(default, "") if default else "",
    )


def _export(model: SentenceTransformer, names: list[str], path: Path) -> None:
    features = model.preprocess(["one text", "another text, with more words than the first"])
    longest = model.max_seq_length
    batch, tokens = torch.export.Dim("batch"), torch.export.Dim("tokens", max=longest)
    shape = {0: batch, 1: tokens}
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with torch.no_grad(), warnings.catch_warnings(action="ignore"):
            program = torch.onnx.export(
                _Whole(model, names).eval(),
                tuple(features[name] for name in names),
                dynamo=True,
                input_names=names,
                output_names=[OUTPUT],
                dynamic_shapes=(tuple(shape for _ in names),),
                external_data=False,
                verbose=False,
            )
    finally:
        exporter.setLevel(level)
    if program is None:
        raise OnnxExportError("this model cannot be exported to ONNX: the exporter gave nothing")
    program.save(path, external_data=False)


def _difference(model: SentenceTransformer, exported: OnnxBackend, texts: Sequence[str]) -> float:
    wanted = np.asarray(model.encode(list(texts), batch_size=16, show_progress_bar=False), dtype=np.float32)
    made = exported.encode(list(texts), batch_size=16)
    if made.shape != wanted.shape:
        return float("inf")
    longest = float(np.linalg.norm(wanted, axis=1).max()) or 1.0
    return float(np.abs(made - wanted).max()) / longest
