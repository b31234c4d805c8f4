"""Text for people: what a terminal may show."""

from __future__ import annotations

import json
import sys
from typing import Any

from finetuner.aio.saying import line_for


def say_json(value: Any, *, indent: bool = True) -> None:
    """Print one JSON document of plain values on stdout, at once; without `indent` on one line."""
    sys.stdout.write(json.dumps(value, indent=2 if indent else None, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Print for the person at the terminal, on stderr, so that stdout holds results alone."""
    for line in text.split("\n"):
        sys.stderr.write(line_for(sys.stderr, line) + "\n")
    sys.stderr.flush()
