"""Values, options and calls as a command line writes them."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetuner.cli.values import Call, read_call, read_options, read_value

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True), JSON, max_size=4))
def test_what_json_writes_is_read_back(options: dict[str, Any]) -> None:
    inside = ", ".join(f"{key}={json.dumps(value)}" for key, value in options.items())
    assert read_call(f"Name({inside})") == Call("Name", options)
    assert read_options(json.dumps(options)) == options


@given(st.text())
def test_no_text_is_evaluated_or_breaks_the_reader(text: str) -> None:
    for read in (read_call, read_options, read_value):
        with suppress(ValueError):
            read(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.3", 0.3),
        ("1e-5", 1e-5),
        ("true", True),
        ("False", False),
        ("None", None),
        ("null", None),
        ("[1, 2]", [1, 2]),
        ("q.csv", "q.csv"),
        ("a b", "a b"),
        ('"10"', "10"),
        ("'a, b'", "a, b"),
        ("NaN", "NaN"),
        ("__import__('os').getcwd()", "__import__('os').getcwd()"),
        ("", ""),
    ],
)
def test_values(text: str, value: Any) -> None:
    assert read_value(text) == value
    assert type(read_value(text)) is type(value)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("EarlyStopping", {}),
        ("EarlyStopping()", {}),
        (" E ( a = 1 , b = x.csv , ) ", {"a": 1, "b": "x.csv"}),
        ("E(a='it, is', b=don't.csv)", {"a": "it, is", "b": "don't.csv"}),
        ('E(a={"b": [1, "x,y"]}, c=2)', {"a": {"b": [1, "x,y"]}, "c": 2}),
        ("E(a=https://host/x?y=1)", {"a": "https://host/x?y=1"}),
        ("my.module:Callback(a=1)", {"a": 1}),
    ],
)
def test_calls(text: str, options: dict[str, Any]) -> None:
    assert read_call(text).options == options


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("E(a", "is not Name(key=value, ...)"),
        ("1E()", "is not Name(key=value, ...)"),
        ("E(a=1) + 1", "is not Name(key=value, ...)"),
        ("E(1)", "'1' is not key=value"),
        ("E(a=1, a=2)", "'a' is given twice"),
        ("E(a=[1)", "']' is missing"),
        ("E(a='x)", '"\'" is missing'),
    ],
)
def test_a_wrong_call_says_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        read_call(text)


@pytest.mark.parametrize("text", ["margin", "=1", "a b=1", "{", "{'a': 1}", '{"a": NaN}', ""])
def test_wrong_options_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"key=value|JSON"):
        read_options(text)
