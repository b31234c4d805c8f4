"""Text for people: what a terminal may show."""

from __future__ import annotations

import io
import json
import sys
from typing import Any, TextIO

from finetuner.api.visible import visible


def buffered(stream: TextIO) -> TextIO:
    """Give a stream that writes each line at once and whole, in place of one without a buffer.

    Such one is Python's where PYTHONUNBUFFERED is set: what a pipe did not take of one call it drops without a word.
    """
    raw = getattr(stream, "buffer", None)
    if not isinstance(raw, io.RawIOBase):
        return stream
    return io.TextIOWrapper(io.BufferedWriter(raw), stream.encoding, stream.errors, line_buffering=True)


def say_json(value: Any, *, indent: bool = True) -> None:
    """Print one JSON document of plain values on stdout, at once; without `indent` on one line."""
    put(json.dumps(value, indent=2 if indent else None, ensure_ascii=False) + "\n")


def put(text: str) -> None:
    """Print text on stdout, at once and whole.

    Raises:
        BrokenPipeError: Its reader went away before it had all of it.
    """
    sys.stdout.write(text)
    sys.stdout.flush()


def note(text: str) -> None:
    """Print for the person at the terminal, on stderr, so that stdout holds results alone."""
    for line in text.split("\n"):
        sys.stderr.write(line_for(sys.stderr, line) + "\n")
    sys.stderr.flush()


def line_for(stream: TextIO, text: str) -> str:
    """Give one line as this stream may have it: made visible on a terminal, as it is elsewhere."""
    return visible(text) if stream.isatty() else text


def say(text: str = "") -> None:
    """Print one line of a run's own text on stdout, at once."""
    put(line_for(sys.stdout, text) + "\n")
