"""How `finetuner top` looks: the board on a terminal of any size, what matters least left out first."""

from __future__ import annotations

import datetime as dt
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import attrs
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from finetuner.api.standing import details_text, took_s
from finetuner.api.types import RunInfo, RunStatus
from finetuner.api.words import ago, count, duration
from finetuner.cli import columns
from finetuner.cli.columns import Script, fitted
from finetuner.cli.names import shown_name
from finetuner.cli.render import STYLES
from finetuner.cli.topview import LIVELY, Board, share

BAR_CELLS: Final = 12
AWAY_S: Final = 1.0
"""A connection that was made anew so soon is no matter."""
_STALLED: Final = "bold magenta"
_RIGHT: Final = frozenset({columns.TOOK, columns.CREATED})


@attrs.frozen(kw_only=True)
class Screen:
    """The terminal that a board is drawn for."""

    width: int
    height: int
    script: Script = attrs.field(factory=Script)


def picture(board: Board, screen: Screen, now: dt.datetime) -> RenderableType:
    """Give what the terminal shows."""
    now -= dt.timedelta(seconds=board.away_s or 0)  # what is shown is as old as the last answer
    head = [*_link(board, screen), *([_sums(board, screen)] if board.is_heard else [])]
    if not board.is_heard:
        return Group(*head, Text(), *_foot(board, screen, ""))
    picked = board.picked()
    # How many lines the foot has does not depend on which runs are at the top, but for a digit.
    rows = max(1, screen.height - len(head) - len(_foot(board, screen, _place(0, 0, len(picked)))) - 2)
    board.first = max(0, min(board.first, len(picked) - rows))
    part = picked[board.first : board.first + rows]
    foot = _foot(board, screen, _place(board.first, len(part), len(picked)))
    return Group(*head, _table(board, part, screen, now), Text(), *foot)


def _link(board: Board, screen: Screen) -> list[Text]:
    """Say where there is no answer, and for how long."""
    away_s = board.away_s or 0.0
    told = [] if board.is_heard else [f"connecting to {board.host}"]
    if away_s >= AWAY_S:
        told.append(f"no answer from {board.host} for {duration(away_s)}, trying again")
    wrapped = [line for text in told for line in textwrap.wrap(screen.script.written(text), screen.width)]
    return [Text(line, "bold red" if away_s >= AWAY_S else "bold") for line in wrapped]


def _sums(board: Board, screen: Screen) -> Text:
    """Count the runs of each status, in one line."""
    counts = Counter(run.status for run in board.runs.values())
    stalled = sum(run.stalled_since is not None for run in board.runs.values())
    parts = {"": (count(len(board.runs), "run"), "bold")}
    parts |= {status: (f"{status} {counts[status]:,}", STYLES[status]) for status in LIVELY}
    if stalled:
        parts["stalled"] = f"stalled {stalled:,}", _STALLED
    gap = 3
    for gone in (None, *(status for status in LIVELY if not counts[status]), *reversed(LIVELY)):
        if sum(len(text) + gap for text, _ in parts.values()) - gap <= screen.width:
            break
        gap = 1
        if gone is not None:
            parts.pop(gone, None)
    return Text(" " * gap, no_wrap=True, overflow="crop").join(Text(text, style) for text, style in parts.values())


def _table(board: Board, runs: Sequence[RunInfo], screen: Screen, now: dt.datetime) -> Table:
    before = board.waiting_before(runs)
    rows = [dict(_cells(run, before, screen.script, now)) for run in runs]
    natural = {name: max(map(cell_len, (name, *(row[name] for row in rows)))) for name in _HEADS}
    widths = fitted(natural | {columns.BAR: BAR_CELLS}, screen.width)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, cells in widths.items():
        table.add_column(name, width=cells, no_wrap=True, justify="right" if name in _RIGHT else "left")
    for run, row in zip(runs, rows, strict=True):
        table.add_row(*(_shown(name, run, screen.script.cut(row[name], cells)) for name, cells in widths.items()))
    return table


_HEADS: Final = (columns.RUN, columns.STATUS, columns.BAR, columns.TOOK, columns.CREATED, columns.DETAILS)


def _cells(run: RunInfo, before: Mapping[str, int], script: Script, now: dt.datetime) -> Iterator[tuple[str, str]]:
    took = took_s(run, now)
    yield columns.RUN, script.written(shown_name(run))
    yield columns.STATUS, "STALLED" if run.stalled_since is not None else run.status
    yield columns.BAR, ""
    yield columns.TOOK, "" if took is None else duration(took)
    yield columns.CREATED, ago(run.created_at, now)
    yield columns.DETAILS, script.written(" ".join(_details(run, before).split()))


def _details(run: RunInfo, before: Mapping[str, int]) -> str:
    if run.status is not RunStatus.CREATED:
        return details_text(run)
    place = before.get(run.id)
    return run.details or (f"{place:,} of your runs before it" if place else "")


def _shown(name: str, run: RunInfo, text: str) -> RenderableType:
    if name == columns.BAR:
        done = share(run)
        return ProgressBar(total=1.0, completed=done) if done >= 0 else ""
    if name == columns.STATUS:
        return Text(text, _STALLED if run.stalled_since is not None else STYLES[run.status])
    return Text(text)


def _place(first: int, shown: int, picked: int) -> str:
    return f"{first + 1}-{first + shown} of {picked:,}" if picked else "none match"


def _foot(board: Board, screen: Screen, place: str) -> list[Text]:
    """Say which runs are shown, and what keys there are."""
    script = screen.script
    dot = script.either(" · ", " | ")
    order = f"order {board.order}{', reversed' if board.is_reversed else ''}"
    told = {"place": place, "order": order, "status": f"status {board.shown}"}
    if board.find or board.is_typing:
        told["find"] = script.written(f"find {board.find}{'_' if board.is_typing else ''}")
    if board.is_typing:
        keys = {"keep": "Enter keeps it", "leave": "Esc all runs"}
    else:
        keys = {"keys": dot.join(_keys(script)), "help": "? keys", "leave": "q quit"}
    if board.is_explained and not board.is_typing:
        every = [*_keys(script), "PgUp PgDn a page", "Home End to the ends", "Esc all runs", "Ctrl-Z suspend", "? less"]
        lines = _lines([*filter(None, told.values()), *every, keys["leave"]], dot, screen.width)
        return [Text(line, "dim", no_wrap=True, overflow="crop") for line in lines]
    parts = {name: text for name, text in (told | keys).items() if text}
    is_usual = {"order": board.order == "lively" and not board.is_reversed, "status": board.shown == "all"}
    last = "leave" if board.is_typing else "find"
    for gone in ("keys", *sorted(is_usual, key=lambda name: not is_usual[name]), "keep", "place", "help", last):
        if cell_len(dot.join(parts.values())) <= screen.width:
            break
        parts.pop(gone, None)
    return [Text(dot.join(parts.values()), "dim", no_wrap=True, overflow="crop")]


def _keys(script: Script) -> list[str]:
    return ["s order", "r reverse", "f status", "/ find", script.either("↑ ↓", "Up Down") + " scroll"]


def _lines(parts: Sequence[str], between: str, width: int) -> list[str]:
    """Put the parts into lines, none of them broken."""
    lines = [""]
    for part in parts:
        longer = f"{lines[-1]}{between}{part}" if lines[-1] else part
        if lines[-1] and cell_len(longer) > width:
            lines.append(part)
        else:
            lines[-1] = longer
    return lines
