"""Lines of a run's own text, on stdout."""

from __future__ import annotations

import sys
from typing import TextIO

from finetuner.api.visible import visible


def line_for(stream: TextIO, text: str) -> str:
    """Give one line as this stream may have it: made visible on a terminal, as it is elsewhere."""
    return visible(text) if stream.isatty() else text


def say(text: str = "") -> None:
    """Print one line of a run's own text on stdout, at once."""
    sys.stdout.write(line_for(sys.stdout, text) + "\n")
    sys.stdout.flush()
