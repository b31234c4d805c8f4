"""Names are checked, quoted and made up in one place."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetuner.api import names
from finetuner.errors import InvalidName


@given(st.text())
def test_a_name_is_taken_exactly_when_it_fits_the_pattern(text: str) -> None:
    if re.fullmatch(names.NAME_PATTERN, text):
        assert names.check_name(text) == text
        assert names.path_segment(text) == text or text in {".", ".."}
    else:
        with pytest.raises(InvalidName):
            names.check_name(text)


@pytest.mark.parametrize("bad", ["", "a\n", "é", "-a", ".a", "a b", "a/b", "a" * 129, None, 3])
def test_bad_names_are_refused_with_a_reason(bad: object) -> None:
    with pytest.raises(InvalidName, match="run name"):
        names.check_name(bad)


def test_no_experiment_means_default_and_the_empty_string_nothing() -> None:
    assert names.check_experiment_name(None) == "default"
    with pytest.raises(InvalidName, match="experiment name is empty"):
        names.check_experiment_name("")


@given(st.text(min_size=1))
def test_a_path_segment_has_no_slash_and_comes_back(text: str) -> None:
    if text in {".", ".."}:
        with pytest.raises(InvalidName):
            names.path_segment(text)
        return
    try:
        segment = names.path_segment(text)
    except UnicodeEncodeError:
        return
    assert not set("/?#") & set(segment)
    assert unquote(segment) == text


def test_the_empty_path_segment_is_refused() -> None:
    with pytest.raises(InvalidName):
        names.path_segment("")


@given(st.text(max_size=300))
def test_any_text_makes_a_valid_name(text: str) -> None:
    assert names.check_name(names.safe_name(text))


def test_memorable_names_all_differ_and_are_valid() -> None:
    made = {names.memorable_name(number) for number in range(names.MEMORABLE_NAMES)}
    assert len(made) == names.MEMORABLE_NAMES
    assert all(names.check_name(name) for name in made)
    assert names.memorable_name(names.MEMORABLE_NAMES) == names.memorable_name(0)


def test_near_names_are_named() -> None:
    assert names.near_hint("vigilant-tereshkov", ["vigilant-tereshkova", "x"]) == " Near: 'vigilant-tereshkova'."
    losses = ["MultipleNegativesRankingLoss", "MarginLoss", "Adam", "AdamW"]
    assert names.near_names("adamw", losses)[0] == "AdamW"
    assert names.near_names("MNRL", losses) == ["MultipleNegativesRankingLoss"]
    assert names.near_hint("zzz", ["vigilant-tereshkova"]) == ""
