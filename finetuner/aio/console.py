"""Where tables, bars and colours go, at its size."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from rich.console import Console


class SizedConsole(Console):
    """Takes a `COLUMNS` or `LINES` of 0 for one that is not set, as Python itself does; rich alone shows nothing then.

    Args:
        options: Those of `rich.console.Console`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, _environ=_environment())


def _environment() -> Mapping[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES") or value.strip("0")}
