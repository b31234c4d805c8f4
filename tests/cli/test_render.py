"""Tables and pages of runs, as a terminal of a certain width and encoding gets them."""

from __future__ import annotations

import datetime as dt
import io

import attrs
import pytest
from rich.cells import cell_len

from finetuner.api.types import RunInfo, RunStatus
from finetuner.cli import render

NOW = dt.datetime(2026, 1, 2, 12, tzinfo=dt.UTC)
NAME = "nightly-with-a-name-of-28-xs"
RUN = RunInfo(
    id="a" * 24,
    seq=1,
    name=NAME,
    experiment_name="default",
    status=RunStatus.STARTED,
    artifact_id="b" * 24,
    created_at=NOW - dt.timedelta(hours=1),
    started_at=NOW - dt.timedelta(minutes=5),
    details="what it does, at a length that no terminal has room for " * 4,
)


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True

    @property
    def lines(self) -> list[str]:
        self.flush()
        told = self.buffer
        assert isinstance(told, io.BytesIO)
        return told.getvalue().decode(self.encoding).splitlines()


def terminal(patch: pytest.MonkeyPatch, columns: int, encoding: str = "utf-8") -> Terminal:
    made = Terminal(io.BytesIO(), encoding, errors="backslashreplace")
    patch.setattr("sys.stdout", made)
    for name, value in {"COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "xterm"}.items():
        patch.setenv(name, value)
    return made


@pytest.mark.parametrize(
    ("columns", "heads"),
    [
        (40, ["RUN", "STATUS"]),
        (60, ["RUN", "STATUS", "DETAILS"]),
        (70, ["RUN", "STATUS", "TOOK", "DETAILS"]),
        (100, ["RUN", "STATUS", "CREATED", "TOOK", "DETAILS"]),
    ],
)
def test_a_narrow_list_has_whole_names(monkeypatch: pytest.MonkeyPatch, columns: int, heads: list[str]) -> None:
    shown = terminal(monkeypatch, columns)
    render.print_runs([RUN, attrs.evolve(RUN, name="short", details="")], NOW)
    lines = [line.replace("\x1b[1m", "").replace("\x1b[0m", "") for line in shown.lines]
    assert lines[0].split() == heads
    assert lines[1].split()[:2] == [NAME, "STARTED"]
    assert lines[2].split()[:2] == ["short", "STARTED"]
    assert len(lines) == 3
    assert max(map(cell_len, lines)) <= columns


def test_a_name_that_has_no_room_is_folded_and_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal(monkeypatch, 30)
    render.print_runs([RUN], NOW)
    lines = shown.lines
    assert "".join(line[:21].strip() for line in lines[1:]) == NAME
    assert max(map(cell_len, lines[1:])) <= 30


def test_a_list_is_shown_where_columns_is_0(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal(monkeypatch, 0)
    render.print_runs([RUN], NOW)
    assert NAME in "\n".join(shown.lines)


def test_a_list_in_ascii_is_ascii_and_keeps_to_its_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal(monkeypatch, 70, "ascii")
    render.print_runs([attrs.evolve(RUN, details="é" * 90), RUN], NOW)
    text = "\n".join(shown.lines)
    assert "\\u2026" not in text
    assert text.count("...") == 2
    assert max(map(len, shown.lines[1:])) <= 70


def test_a_page_says_that_a_run_is_stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal(monkeypatch, 100)
    since = NOW - dt.timedelta(minutes=40)
    render.print_run(attrs.evolve(RUN, stalled_since=since), {}, NOW)
    (line,) = [line for line in shown.lines if "stalled" in line]
    assert "(40 min ago): nothing in its log, no progress" in line
    shown = terminal(monkeypatch, 100)
    render.print_run(RUN, {}, NOW)
    assert not [line for line in shown.lines if "stalled" in line]
