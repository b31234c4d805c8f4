"""Say why a run failed: what kind of error it was, and what to do about it."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Mapping
from typing import Final

import torch

from finetuner.api.types import Task
from finetuner.errors import Failure, FinetunerError
from finetuner.job.worker.onnx_export import OnnxExportError
from finetuner.job.worker.training import LossNotFiniteError
from finetuner.job.worker.wandb_recorder import WandBError

_MEMORY_HINTS: Final[Mapping[Task, str]] = {
    Task.TRAINING: "use a smaller batch_size, or a smaller max_seq_length in model_options",
    Task.GENERATION: "use smaller models, or synthesize from fewer or shorter texts at a time",
}
_MEMORY_WORDS: Final = ("out of memory", "can't allocate memory", "not enough memory")


def describe(error: BaseException, task: Task = Task.TRAINING) -> Failure:
    """Give a failure as data; the traceback only where the message alone does not explain it."""
    name, message = type(error).__name__, str(error).strip() or "no message"
    if is_out_of_memory(error):
        return Failure(type="OutOfMemory", message=message.splitlines()[0], hint=_MEMORY_HINTS[task])
    if isinstance(error, LossNotFiniteError | OnnxExportError | WandBError):
        return Failure(type=name.removesuffix("Error"), message=message, hint=error.hint)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return Failure(
            type="StorageFull", message=message, hint="make room on the disk of the machine that does the work"
        )
    if isinstance(error, FinetunerError):
        return Failure(type=name, message=message)
    return Failure(type=name, message=message, traceback="".join(traceback.format_exception(error)))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the device or on the machine; torch says the latter with a bare RuntimeError."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _MEMORY_WORDS)
