"""Times and amounts in words."""

from __future__ import annotations

import datetime as dt

import pytest

from finetuner.api.words import ago, count, duration, size

NOW = dt.datetime(2026, 5, 4, 12, 0, tzinfo=dt.UTC)


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
