"""Which lines of a log have which level, wherever it is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetuner.api.logfilter import LEVELS, LogFilter, check_level
from finetuner.errors import InvalidInput

LOG = b"""\
loading the model
warning: few pairs
  and more of it
DEBUG:root:small
2026-11-24 15:04:14,123 - trainer - ERROR - no memory
Traceback (most recent call last):
  File "job.py", line 1, in <module>

ValueErrors: not by its name
going on
job.py:3: UserWarning: deprecated
RuntimeError: bare
critical: the end
"""
RANKS = "info warning warning debug error error error error error info warning error critical".split()


def picked(rule: LogFilter, *pieces: bytes) -> bytes:
    return b"".join(piece[start:end] for piece in pieces for start, end in rule.feed(piece))


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_picks_its_lines_and_those_above(level: str) -> None:
    wanted = [
        line
        for line, rank in zip(LOG.splitlines(keepends=True), RANKS, strict=True)
        if LEVELS.index(rank) >= LEVELS.index(level)
    ]
    assert picked(LogFilter(level=level.upper()), LOG) == b"".join(wanted)


@given(cut=st.integers(0, LOG.count(b"\n")))
def test_the_pieces_it_comes_in_make_no_difference(cut: int) -> None:
    lines = LOG.splitlines(keepends=True)
    pieces = b"".join(lines[:cut]), b"".join(lines[cut:])
    assert picked(LogFilter(level="error"), *pieces) == picked(LogFilter(level="error"), LOG)


def test_a_text_is_looked_for_within_lines() -> None:
    assert picked(LogFilter(contains="ä"), "aä\nb\nä".encode()) == "aä\nä".encode()
    assert picked(LogFilter(contains="a\nb"), b"a\nb\n") == b""


def test_a_level_that_there_is_not_has_near_names() -> None:
    assert (check_level("WARN"), check_level("fatal")) == ("warning", "critical")
    with pytest.raises(InvalidInput, match=r"no level 'eror'; there are debug, .*Near: 'error'"):
        check_level("eror")
