"""Tables of runs as wide as a terminal: what matters least gives way first, and names are cut last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs
from rich.cells import cell_len, set_cell_size

from finetuner.api.visible import visible

RUN: Final = "RUN"
STATUS: Final = "STATUS"
BAR: Final = ""
"""The head of the column that shows how far a run is."""
TOOK: Final = "TOOK"
CREATED: Final = "CREATED"
DETAILS: Final = "DETAILS"

GAP_CELLS: Final = 2
LEAST_DETAILS_CELLS: Final = 16
"""Shorter details say nothing."""
LONGEST_CLAIM_CELLS: Final = 48
"""So much of a name takes the place of other columns; of a longer one, what there is room for is shown."""
_GIVING_WAY: Final = (CREATED, TOOK, BAR, DETAILS)
"""The columns that are left out where they have no room, the first first."""

_CLAIMS: Final[Mapping[str, int]] = {RUN: LONGEST_CLAIM_CELLS, DETAILS: LEAST_DETAILS_CELLS}


@attrs.frozen
class Script:
    """What a terminal can write."""

    encoding: str = "utf-8"

    def written(self, text: str) -> str:
        """Give one line as the terminal shows it: what could steer it, or what it cannot write, as an escape."""
        return visible(text).encode(self.encoding, "backslashreplace").decode(self.encoding)

    def either(self, text: str, plain: str) -> str:
        """Give the text where the terminal can write it, else the plain one."""
        return text if self.written(text) == text else plain

    def cut(self, text: str, cells: int) -> str:
        """Give one line in so many cells, with an ellipsis where its end is left out."""
        text = self.written(text)
        if cell_len(text) <= cells:
            return text
        mark = self.either("…", "...")[: max(0, cells)]
        return set_cell_size(text, cells - len(mark)).rstrip() + mark


def fitted(natural: Mapping[str, int], width: int) -> dict[str, int]:
    """Give the columns that there is room for, in their order, each with its cells.

    Args:
        natural: The cells that each column would take; `RUN` is one of them.
        width: The cells of the terminal.
    """
    least = {name: min(cells, _CLAIMS.get(name, cells)) for name, cells in natural.items()}
    for name in _GIVING_WAY:
        if _taken(least) <= width:
            break
        least.pop(name, None)
    room = width - _taken(least)
    if room < 0:
        return least | {RUN: max(1, least[RUN] + room)}
    for name in (RUN, DETAILS):
        if name in least:
            more = min(room, natural[name] - least[name])
            least[name] += more
            room -= more
    return least


def _taken(cells: Mapping[str, int]) -> int:
    return sum(cells.values()) + GAP_CELLS * (len(cells) - 1)
