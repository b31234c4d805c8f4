from __future__ import annotations

import errno
import os

import pytest
import torch

from finetuner.errors import InvalidInput
from finetuner.job.worker.failures import describe
from finetuner.job.worker.onnx_export import OnnxExportError
from finetuner.job.worker.training import LossNotFiniteError


def test_memory_that_ran_out_is_named_with_a_hint() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50)
    for error in (caught.value, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), MemoryError()):
        failure = describe(error)
        assert failure.type == "OutOfMemory"
        assert failure.hint is not None
        assert "batch_size" in failure.hint


@pytest.mark.parametrize(
    ("error", "type_", "hint"),
    [
        (LossNotFiniteError("the loss became nan in step 3"), "LossNotFinite", "learning_rate"),
        (OnnxExportError("the model in ONNX gives other embeddings"), "OnnxExport", "to_onnx"),
        (OSError(errno.ENOSPC, "No space left on device"), "StorageFull", "disk"),
    ],
)
def test_what_can_be_done_is_said(error: Exception, type_: str, hint: str) -> None:
    failure = describe(error)
    assert failure.type == type_
    assert failure.hint is not None
    assert hint in failure.hint


def test_our_own_errors_need_no_traceback_and_strangers_have_one() -> None:
    assert describe(InvalidInput("no loss")).traceback is None
    try:
        os.environ["FINETUNER_NO_SUCH_VARIABLE"]
    except KeyError as error:
        failure = describe(error)
    assert (failure.type, failure.message) == ("KeyError", "'FINETUNER_NO_SUCH_VARIABLE'")
    assert "test_failures.py" in (failure.traceback or "")
