"""What a terminal may show."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from finetuner.api.visible import visible


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
