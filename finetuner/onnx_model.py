"""Encode with a model in ONNX: its tokenizer and onnxruntime, without torch.

A run with `to_onnx=True` leaves it in a folder of its artifact: `model.onnx` gives embeddings of tokens, and
`tokens.json` says how texts become tokens.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import numpy as np
import numpy.typing as npt
import orjson

from finetuner.api.models import ONNX_MISSING
from finetuner.errors import InvalidInput, MissingExtra, NotFound

FOLDER: Final = "onnx"
"""The folder of the artifact that holds it."""
MODEL_FILE: Final = "model.onnx"
TOKENS_FILE: Final = "tokens.json"
OUTPUT: Final = "sentence_embedding"
_PROVIDERS: Final = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@attrs.frozen(kw_only=True)
class Tokens:
    """How texts become tokens."""

    inputs: list[str]
    """What the model takes, of `input_ids`, `attention_mask` and `token_type_ids`."""
    max_length: int | None
    """Tokens of a text that are read."""
    pad_id: int
    pad_token: str
    padding_side: str
    prompt: str = ""
    """What stands before each text."""


class OnnxBackend:
    """What an `EmbeddingModel` encodes with, where the model is in ONNX.

    Args:
        folder: The unpacked artifact.
        device: `cpu` or `cuda`; None takes CUDA where the installed onnxruntime has it.

    Raises:
        MissingExtra: onnxruntime or tokenizers is not installed.
        NotFound: The artifact holds no model in ONNX.
        InvalidInput: The installed onnxruntime cannot use that device.
    """

    def __init__(self, folder: Path, device: str | None = None) -> None:
        try:
            onnxruntime: Any = importlib.import_module("onnxruntime")
            tokenizers: Any = importlib.import_module("tokenizers")
        except ImportError as error:
            raise MissingExtra(f"{ONNX_MISSING} ({error})") from error
        path = folder / FOLDER / MODEL_FILE
        if not path.is_file():
            raise NotFound(f"{folder} holds no model in ONNX: train with to_onnx=True, or leave is_onnx out")
        available = onnxruntime.get_available_providers()
        wanted = device or ("cuda" if _PROVIDERS["cuda"] in available else "cpu")
        if _PROVIDERS.get(wanted) not in available:
            raise InvalidInput(f"the installed onnxruntime cannot use the device {wanted!r}; device='cpu' always works")
        self.device: str = wanted
        self._tokens = Tokens(**orjson.loads((folder / FOLDER / TOKENS_FILE).read_bytes()))
        self._tokenizer: Any = _tokenizer(tokenizers.Tokenizer, folder, self._tokens)
        self._session: Any = onnxruntime.InferenceSession(str(path), providers=[_PROVIDERS[wanted]])

    def get_embedding_dimension(self) -> int:
        """Give the length of the vectors."""
        return int(self._session.get_outputs()[0].shape[-1])

    def encode(self, texts: Sequence[str], *, batch_size: int = 32, **_: Any) -> npt.NDArray[np.float32]:
        """Encode n texts, those of like length together: an array of shape (n, dim)."""
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        vectors = np.zeros((len(texts), self.get_embedding_dimension()), dtype=np.float32)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            vectors[rows] = self._encode([self._tokens.prompt + texts[index] for index in rows])
        return vectors

    def _encode(self, texts: list[str]) -> npt.NDArray[np.float32]:
        found = self._tokenizer.encode_batch(texts)
        known = {
            "input_ids": [one.ids for one in found],
            "attention_mask": [one.attention_mask for one in found],
            "token_type_ids": [one.type_ids for one in found],
        }
        feeds = {name: np.asarray(known[name], dtype=np.int64) for name in self._tokens.inputs}
        (vectors,) = self._session.run([OUTPUT], feeds)
        return np.asarray(vectors, dtype=np.float32)


def _tokenizer(kind: Any, folder: Path, tokens: Tokens) -> Any:
    made = kind.from_file(str(folder / "tokenizer.json"))
    made.no_truncation()
    if tokens.max_length is not None:
        made.enable_truncation(tokens.max_length)
    made.enable_padding(pad_id=tokens.pad_id, pad_token=tokens.pad_token, direction=tokens.padding_side)
    return made
