"""What a terminal may show, and times in words."""

from __future__ import annotations

import datetime as dt
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetuner.cli.text import ago, count, duration, size, visible

NOW = dt.datetime(2026, 5, 4, 12, 0, tzinfo=dt.UTC)


@given(st.text())
def test_visible_text_holds_nothing_that_steers_a_terminal(text: str) -> None:
    shown = visible(text)
    steering = {"Cc", "Zl", "Zp"}
    assert not [character for character in shown if unicodedata.category(character) in steering and character != "\t"]
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Zl", "Zp", "Cs"])))
def test_other_text_stays_as_it_is(text: str) -> None:
    assert visible(f"{text}\t") == f"{text}\t"


def test_escapes_are_written_out() -> None:
    assert visible("\x1b[2Jgone\r\n\u202eevil\x9b1m") == "\\x1b[2Jgone\\x0d\\x0a\\u202eevil\\x9b1m"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-1, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (86, "1 min 26 s"), (3_600, "1 h 0 min"), (90_000, "1 d 1 h")],
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-3, "just now"), (4, "just now"), (59, "59 s ago"), (60, "1 min ago"), (7_300, "2 h ago"), (90_000, "1 d ago")],
)
def test_times_are_told_from_now(seconds: int, shown: str) -> None:
    assert ago(NOW - dt.timedelta(seconds=seconds), NOW) == shown


def test_a_time_long_ago_is_a_date() -> None:
    assert ago(NOW - dt.timedelta(days=90), NOW) == "2026-02-03"


def test_amounts() -> None:
    assert (count(1, "run"), count(16_017, "run")) == ("1 run", "16,017 runs")
    assert (size(999), size(82_531_000), size(3 * 10**12)) == ("999 bytes", "82.5 MB", "3.0 TB")
