"""The calls of the client about models: tuned ones, plain ones, and which there are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from finetuner import local
from finetuner.aio import display
from finetuner.aio.arguments import checked
from finetuner.aio.calls import ClientCalls
from finetuner.aio.run import AsyncRun, fetch_artifact
from finetuner.api.models import model_names
from finetuner.api.names import is_id
from finetuner.api.sources import DocumentsT, Frame
from finetuner.api.types import Task
from finetuner.callback import CALLBACKS, Callback
from finetuner.errors import InvalidInput
from finetuner.model import EmbeddingModel, load_model
from finetuner.onnx_model import OnnxBackend


@checked
class ModelCalls(ClientCalls):
    """The calls about models."""

    async def get_model(
        self,
        artifact: str | Path | AsyncRun,
        token: str | None = None,
        batch_size: int = 32,
        select_model: str | None = None,
        device: str | None = None,
        logging_level: str = "WARNING",
        is_onnx: bool = False,
    ) -> EmbeddingModel:
        """Load a tuned model: fetched once for each content, then from the cache.

        Args:
            artifact: A run, the `artifact_id` of one, or the path of an artifact's zip.
            token: Taken for callers of the old client; this client's own is used.
            batch_size: Texts to encode at a time.
            select_model: For text-to-image models alone.
            device: `cpu`, `cuda`, ...; None: the best there is.
            logging_level: Taken for callers of the old client.
            is_onnx: Load the model in ONNX that a run with `to_onnx=True` left: onnxruntime is needed, torch is not.

        Raises:
            RunInProgress: The run has not ended yet.
            RunFailed: It failed and has no artifact.
            InvalidInput: It is no artifact, or the training data of a synthesis run.
            NotFound: It holds no model in ONNX, and is_onnx asks for one.
            MissingExtra: torch or sentence-transformers is not installed here; with is_onnx, onnxruntime.

        Example:
            tuned = await client.get_model(run)
            vectors = await client.encode(tuned, ["a text"])
        """
        del token, logging_level
        _refuse_select_model(select_model)
        path = await self._artifact_file(artifact)
        return await asyncio.to_thread(load_model, path, device, batch_size, is_onnx=is_onnx)

    async def _artifact_file(self, artifact: str | Path | AsyncRun) -> Path:
        if isinstance(artifact, AsyncRun):
            artifact = artifact.artifact_id
        if isinstance(artifact, str) and is_id(artifact) and not Path(artifact).exists():
            target = local.cache_dir() / "artifacts" / f"{artifact}.zip"
            await fetch_artifact(self, artifact, target, overwrite=True, progress=None, task=Task.TRAINING)
            return target
        path = Path(artifact).expanduser()
        if not path.exists():
            is_path = "/" in str(artifact) or path.suffix == ".zip"
            what = f"there is no file {path}" if is_path else f"{str(artifact)!r} is none of them"
            raise InvalidInput(
                "artifact must be a run, a run's artifact_id (24 hexadecimal digits), or the path of an artifact; "
                f"{what}"
            )
        return path

    async def build_model(
        self,
        name: str,
        model_options: dict[str, Any] | None = None,
        batch_size: int = 32,
        select_model: str | None = None,
        device: str | None = None,
        is_onnx: bool = False,
    ) -> EmbeddingModel:
        """Load a model as it is before any tuning, to compare with.

        Args:
            name: A short name of `list_models()`, a hub's `org/name`, or a folder.
            model_options: `max_seq_length`: tokens of a text that are read.
            batch_size: Texts to encode at a time.
            select_model: For text-to-image models alone.
            device: `cpu`, `cuda`, ...; None: the best there is.
            is_onnx: Only False is possible: a run's artifact alone has a model in ONNX.

        Raises:
            InvalidInput: There is no such model; near names are given.
            MissingExtra: torch or sentence-transformers is not installed here.

        Example:
            plain = await client.build_model("all-minilm-l6-v2")
        """
        _refuse_select_model(select_model)
        if is_onnx:
            raise InvalidInput("is_onnx=True: only a run's artifact has a model in ONNX, where it had to_onnx=True")
        options = dict(model_options or {})
        length = options.pop("max_seq_length", None)
        if options:
            raise InvalidInput(f"model_options has {min(options)!r}; a text model has max_seq_length")
        return await asyncio.to_thread(_load, name, device, batch_size, length)

    @overload
    async def encode(self, model: EmbeddingModel, data: DocumentsT, batch_size: int = 32) -> DocumentsT: ...

    @overload
    async def encode(
        self, model: EmbeddingModel, data: Iterable[str] | Frame, batch_size: int = 32
    ) -> npt.NDArray[np.float32]: ...

    async def encode(self, model: EmbeddingModel, data: Any, batch_size: int = 32) -> Any:
        """Turn texts into vectors, in a thread.

        Args:
            model: What `get_model` or `build_model` gave.
            data: n texts: a list or another iterable, a series or an array, a frame of one column; or a DocumentArray.
            batch_size: Texts at a time.

        Returns:
            An array of shape (n, dim), float32; row i belongs to text i. Of a DocumentArray itself, its `embeddings`
            filled.

        Raises:
            InvalidInput: It is no such thing, or holds something else than texts.

        Example:
            vectors = await client.encode(tuned, ["a text", "another"])
        """
        return await asyncio.to_thread(model.encode, data, batch_size)

    def list_models(self) -> list[str]:
        """Give the short names of the models that can be trained.

        Example:
            print(client.list_models())
        """
        return model_names()

    def describe_models(self, task: str | None = None) -> None:
        """Print the models that have a short name as a table.

        Args:
            task: Only those of this task, such as `text-to-text`.

        Example:
            client.describe_models(task="text-to-text")
        """
        display.print_models(task)

    def list_callbacks(self) -> dict[str, type[Callback]]:
        """Give the callbacks by their names.

        Example:
            print(sorted(client.list_callbacks()))
        """
        return dict(CALLBACKS)

    def list_model_options(self) -> dict[str, list[dict[str, Any]]]:
        """Give the options that `model_options` can have, for each model.

        Example:
            print(client.list_model_options()["all-minilm-l6-v2"])
        """
        option = {"name": "max_seq_length", "type": "int", "default": None, "description": "tokens of a text to read"}
        return {name: [dict(option)] for name in model_names()}


def _refuse_select_model(select_model: str | None) -> None:
    if select_model is not None:
        raise InvalidInput("select_model chooses a half of a text-to-image model; those are not offered")


def _load(source: str | Path, device: str | None, batch_size: int, max_seq_length: int | None = None) -> EmbeddingModel:
    loaded = load_model(source, device, batch_size)
    if max_seq_length is not None and not isinstance(loaded.backend, OnnxBackend):
        loaded.backend.max_seq_length = max_seq_length
    return loaded
