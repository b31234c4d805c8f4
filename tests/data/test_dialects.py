from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetuner.data import CSVOptions, prepare, read
from finetuner.data.dialects import Dialect, named_dialect
from finetuner.errors import InvalidInput

MARKS = "!#$%&*+,-./:;<=>?@^_`|~\t'\"\\¦§"
TEXTS = st.text(
    st.one_of(st.sampled_from(f"{MARKS} ab"), st.characters(codec="utf-8", exclude_characters="\r\n\0\ufeff")),
    min_size=1,
    max_size=30,
).filter(str.strip)


class Semicolons(csv.excel):
    delimiter = ";"


@st.composite
def parameters(draw: st.DrawFn) -> dict[str, Any]:
    """Parameters of `csv.writer` that can go together."""
    delimiter, quotechar, escapechar = draw(st.permutations(MARKS))[:3]
    doublequote, quoting = draw(st.booleans()), draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    has_escape = not doublequote or draw(st.booleans())
    return {
        "delimiter": delimiter,
        "quotechar": quotechar,
        "doublequote": doublequote,
        "escapechar": escapechar if has_escape else None,
        "quoting": csv.QUOTE_NONE if has_escape and draw(st.booleans()) else quoting,
        "lineterminator": draw(st.sampled_from(["\n", "\r\n", "\r"])),
    }


def written(rows: list[list[str]], parameters: dict[str, Any]) -> io.StringIO:
    """Give rows as Python's writer writes them; the last ones may have line breaks in them."""
    file = io.StringIO(newline="")
    csv.writer(file, **parameters).writerows(rows)
    file.seek(0)
    return file


@settings(deadline=None)
@given(parameters(), st.integers(1, 3), st.data())
def test_a_dialect_that_is_given_reads_what_was_written(given: dict[str, Any], width: int, data: st.DataObject) -> None:
    breaks = given["lineterminator"] == "\r\n" or given["quoting"] == csv.QUOTE_ALL  # else the writer leaves them bare
    texts = st.builds("{}{}{}".format, TEXTS, st.sampled_from(["", "\n", "\r\n", "\r"]), TEXTS) if breaks else TEXTS
    rows = data.draw(st.lists(st.lists(texts.map("x{}".format), min_size=width, max_size=width), min_size=1))
    prepared = prepare(written(rows, given), CSVOptions(dialect=given, is_labeled=width == 2))
    found = read(prepared.path).rows
    prepared.path.unlink()
    prepared.path.parent.rmdir()
    if prepared.kind == "scored":
        assert [(*row[:2], float(row[2])) for row in rows] == [(*row[:2], float(row[2])) for row in found]
    else:
        assert [list(row) for row in found] == [[cell.strip() for cell in row] for row in rows]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("excel", Dialect(strict=False)),
        ("excel-tab", Dialect(delimiter="\t", strict=False)),
        (Semicolons, Dialect(delimiter=";", strict=False)),
        (Semicolons(), Dialect(delimiter=";", strict=False)),
        (csv.get_dialect("unix"), Dialect(strict=False)),
        ({}, Dialect()),
        ({"delimiter": "|", "strict": False}, Dialect(delimiter="|", strict=False)),
        ({"quotechar": None}, Dialect(quotechar=None)),
        ({"quoting": csv.QUOTE_NONE}, Dialect(quotechar=None)),
        ({"quoting": csv.QUOTE_NONNUMERIC}, Dialect()),
        ({"skipinitialspace": True, "lineterminator": "\n"}, Dialect(skipinitialspace=True)),
    ],
)
def test_ways_to_name_a_dialect(given: Any, found: Dialect) -> None:
    assert named_dialect(given) == found
    CSVOptions(dialect=given)


def test_numbers_without_quotes_stay_texts() -> None:
    rows = read(
        prepare(io.StringIO('"a","1"\n"b",2\n'), CSVOptions(dialect={"quoting": csv.QUOTE_NONNUMERIC})).path
    ).rows
    assert rows == (("a", "1"), ("b", "2"))


class Bare(csv.Dialect):
    pass


class Long(csv.excel):
    delimiter = ";;"


class Wrong(csv.excel):
    quoting = "all"  # type: ignore[assignment] # what somebody may write


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("exel", "there is no dialect 'exel'. Near: 'excel'"),
        ("Auto", "Near: 'auto'"),
        (Bare, "the dialect Bare cannot be used: "),
        (Long, "the dialect Long cannot be used: .*delimiter"),
        (Wrong, "the dialect Wrong cannot be used: .*quoting"),
        ({"delimitr": ";"}, "a dialect has no 'delimitr'. Near: 'delimiter'"),
        ({"delimiter": ""}, "delimiter"),
        ({"delimiter": "\n"}, "its delimiter ends a line"),
        ({"delimiter": '"'}, "its delimiter and its quotechar are both"),
        ({"escapechar": '"'}, "its quotechar and its escapechar are both"),
        ({"quotechar": ""}, "quotechar"),
        ({"quotechar": None, "quoting": 1}, "quotechar"),
        ({"doublequote": object(), "quoting": 77}, "quoting"),
        (5, r"must be 'auto', .* not 5 \(int\)"),
        (None, "must be 'auto', .* not None"),
        (csv.reader, "must be 'auto'"),
        (dict, "must be 'auto'"),
    ],
)
def test_what_is_no_dialect_is_refused_where_it_is_given(given: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=f"CSVOptions: .*{words}"):
        CSVOptions(dialect=given)
