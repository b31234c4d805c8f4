"""Text for people: what a terminal may show."""

from __future__ import annotations

import json
import sys
from typing import Any, Final, TextIO

from finetuner.api.visible import visible

PIECE_CHARS: Final = 1024
"""Of 4 bytes at most: PIPE_BUF on Linux."""


def say_json(value: Any, *, indent: bool = True) -> None:
    """Print one JSON document of plain values on stdout, at once; without `indent` on one line."""
    put(json.dumps(value, indent=2 if indent else None, ensure_ascii=False) + "\n")


def put(text: str) -> None:
    """Print text on stdout, at once and whole.

    Raises:
        BrokenPipeError: Its reader went away before it had all of it.
    """
    # Where PYTHONUNBUFFERED is set, Python drops without a word what a pipe did not take of one call. So little of it a
    # pipe takes whole, or not at all.
    for start in range(0, len(text), PIECE_CHARS):
        sys.stdout.write(text[start : start + PIECE_CHARS])
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
