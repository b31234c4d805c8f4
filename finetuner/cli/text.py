"""Text for people: what a terminal may show."""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO

from finetuner.api.visible import visible


def say_json(value: Any, *, indent: bool = True) -> None:
    """Print one JSON document of plain values on stdout, at once; without `indent` on one line."""
    sys.stdout.write(json.dumps(value, indent=2 if indent else None, ensure_ascii=False) + "\n")
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
    sys.stdout.write(line_for(sys.stdout, text) + "\n")
    sys.stdout.flush()
