"""Where vectors go: a .npy file, a file of JSON lines, or standard output, written as they come."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import orjson
from numpy.lib import format as npy

from finetuner.cli.files import replacing
from finetuner.model import Floats


class Writer(Protocol):
    """Takes vectors as they come."""

    def write(self, texts: Sequence[str], vectors: Floats) -> None:
        """Append the vectors of some texts."""


class JsonLines:
    """Writes `{"text": ..., "vector": [...]}` a line."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, texts: Sequence[str], vectors: Floats) -> None:
        """Append the vectors of some texts."""
        for text, vector in zip(texts, vectors, strict=True):
            row = {"text": text, "vector": vector}
            self._file.write(orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE))
        self._file.flush()


class Npy:
    """Writes one float32 array of shape (n, dim); n is told at the end, for which numpy's header leaves room."""

    def __init__(self, file: BinaryIO, dim: int) -> None:
        self._file = file
        self._dim = dim
        self._rows = 0
        self._begin = self._header()

    def _header(self) -> int:
        shape = (self._rows, self._dim)
        header = {"descr": npy.dtype_to_descr(np.dtype(np.float32)), "fortran_order": False, "shape": shape}
        self._file.seek(0)
        npy.write_array_header_1_0(self._file, header)
        return self._file.tell()

    def write(self, texts: Sequence[str], vectors: Floats) -> None:
        """Append the vectors of some texts."""
        del texts
        self._file.write(vectors.astype(np.float32, copy=False).tobytes())
        self._rows += len(vectors)

    def finish(self) -> None:
        """Say in the header how many there are.

        Raises:
            RuntimeError: This numpy's header has grown, over the first vector.
        """
        if self._header() != self._begin:
            raise RuntimeError("the header of the .npy file has another length than at first")


@contextmanager
def open_writer(output: Path | None, dim: int) -> Iterator[Writer]:
    """Open the writer that an output's name asks for; the file appears whole, or not at all."""
    if output is None:
        yield JsonLines(sys.stdout.buffer)
        return
    with replacing(output) as file:
        if output.suffix == ".npy":
            array = Npy(file, dim)
            yield array
            array.finish()
        else:
            yield JsonLines(file)
