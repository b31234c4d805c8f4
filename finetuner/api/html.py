"""HTML that a notebook shows: without scripts, each text of a job or a user escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from finetuner.api.visible import visible

_CELL: Final = "padding:.2em .8em .2em 0;text-align:left;vertical-align:top"
_WIDTH: Final = 240
_HEIGHT: Final = 36


def text(words: str) -> str:
    """Give words as one line that is text alone."""
    return escape(visible(" ".join(words.splitlines())))


def dim(words: str) -> str:
    """Give words that are less important."""
    return f'<span style="opacity:.65">{text(words)}</span>'


def row(cells: Iterable[str]) -> str:
    """Give a row of a table."""
    return "<tr>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in cells) + "</tr>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Give a table: the names of its columns as words, its cells as HTML."""
    named = row(dim(name) for name in head) if any(head) else ""
    return f"<table>{named}{''.join(map(row, rows))}</table>"


def lines(texts: Iterable[str]) -> str:
    """Give lines of a log, as they are."""
    shown = "\n".join(escape(visible(one)) for one in texts)
    return f'<pre style="margin:.4em 0;white-space:pre-wrap;opacity:.85">{shown}</pre>' if shown else ""


def sparkline(points: Sequence[tuple[float, float]]) -> str:
    """Give a small line chart of values by step; nothing of less than two values."""
    if len(points) < 2:
        return ""
    (left, right), (low, high) = _range(step for step, _ in points), _range(value for _, value in points)
    shown = " ".join(
        f"{_WIDTH * (step - left) / (right - left):.1f},{2 + (_HEIGHT - 4) * (high - value) / (high - low):.1f}"
        for step, value in points
    )
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{len(points)} values">'
        f'<polyline points="{shown}" fill="none" stroke="#2f7de1" stroke-width="1.5"></polyline></svg>'
    )


def _range(values: Iterable[float]) -> tuple[float, float]:
    """Give the least and the greatest, never the same: what lies between is divided by their distance."""
    known = list(values)
    low, high = min(known), max(known)
    return (low, high) if low < high else (low - 0.5, high + 0.5)
