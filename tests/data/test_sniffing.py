"""Telling a dialect: the same rows as were written, or an error that says how to name it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetuner.data import CSVOptions, prepare, read
from finetuner.data.cells import COLUMN_NAMES
from finetuner.data.dialects import Dialect
from finetuner.data.sniffing import sniff
from finetuner.errors import InvalidData

WORDS = (
    "the a dog rains hard café naïve 犬 Straße 3.14 1,000 2024 it's don't dogs' 'tis O'Brien (maybe) yes! why? "
    'e.g. AT&T C:\\temp\\new \\\\server 50% 5" 🐕 однако however, semi; either | or: -5 --- ... "so" \'so\''
).split()


def prose(min_words: int = 2) -> st.SearchStrategy[str]:
    """Texts as people write them: a blank follows on a mark; now and then lines, or speech in quotes."""
    plain = st.lists(st.sampled_from(WORDS), min_size=min_words, max_size=12).map(" ".join)
    said = plain.map(lambda text: f'she said "{text}", and left')
    paragraphs = st.tuples(plain, plain).map("\n".join)
    return st.one_of(plain, plain, said, paragraphs).map(lambda text: f"so {text} it is")


@st.composite
def dialects(draw: st.DrawFn) -> dict[str, Any]:
    """Dialects that are told."""
    escapes = draw(st.booleans())
    return {
        "delimiter": draw(st.sampled_from(",\t;|")),
        "quotechar": draw(st.sampled_from("\"'")),
        "doublequote": not escapes,
        "escapechar": "\\" if escapes else None,
        "quoting": draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
        "lineterminator": draw(st.sampled_from(["\r\n", "\n", "\r"])),
    }


def written(rows: list[list[str]], parameters: dict[str, Any], *, blanks: bool) -> io.StringIO:
    """Write rows, with a blank after each delimiter or without."""

    def line(row: list[str]) -> str:
        file = io.StringIO(newline="")
        # A break in a text is quoted alone where it is one of the writer's own ends.
        csv.writer(file, **{**parameters, "lineterminator": "\r\n"}).writerow(row)
        return file.getvalue().removesuffix("\r\n")

    glue = f"{parameters['delimiter']} "
    lines = [glue.join(line([cell]) for cell in row) if blanks else line(row) for row in rows]
    return io.StringIO("".join(f"{one}{parameters['lineterminator']}" for one in lines), newline="")


def found_in(file: io.StringIO) -> list[list[str]]:
    prepared = prepare(file)
    rows = [list(row) for row in read(prepared.path).rows]
    prepared.path.unlink()
    prepared.path.parent.rmdir()
    return rows


@settings(max_examples=150, deadline=None)
@given(dialects(), st.booleans(), st.integers(2, 3), st.data())
def test_tables_of_prose_are_read_as_they_were_written(
    given: dict[str, Any], blanks: bool, width: int, data: st.DataObject
) -> None:
    cells = st.lists(prose(), min_size=width, max_size=width)
    rows = data.draw(st.lists(cells, min_size=8, max_size=30, unique_by=tuple))
    rows += [[f"cell {n} {place}" for place in range(width)] for n in range(4)]  # no mark has its place in every row
    assert found_in(written(rows, given, blanks=blanks)) == rows


@settings(max_examples=150, deadline=None, derandomize=True)
@given(dialects(), st.booleans(), st.integers(1, 3), st.data())
def test_few_rows_are_read_as_they_were_written_or_the_dialect_is_asked_for(
    given: dict[str, Any], blanks: bool, width: int, data: st.DataObject
) -> None:
    rows = data.draw(st.lists(st.lists(prose(), min_size=width, max_size=width), min_size=1, max_size=4))
    try:
        found = found_in(written(rows, given, blanks=blanks))
    except InvalidData as error:
        assert "CSVOptions(dialect=" in str(error)  # noqa: PT017 - either is right, and neither is wrong rows
        return
    assert found == rows


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        ("a,b\nc,d\n", Dialect()),
        ("a\tb\nc\td\n", Dialect(delimiter="\t")),
        ("Hello, world;so, be it\na;b\n" * 3, Dialect(delimiter=";")),
        ("it's,the dogs' tail\n'tis,don't\n", Dialect()),
        ("He said 'go',and went\n'Twas night,and the stars'\n", Dialect()),
        ("'a, b','c'\n'it''s',' d'\n", Dialect(quotechar="'")),
        ("'a; b';c\nd;'e; f'\ng;h\n", Dialect(delimiter=";", quotechar="'")),
        ("'text','label'\n'a',1\n'b',2\n", Dialect(quotechar="'")),
        ('a,"b ""c"", d"\ne,f\n', Dialect()),
        ('a,"b \\"c\\", d"\ne,f\n', Dialect(doublequote=False, escapechar="\\")),
        ("a\\, b,c\nd,e\n", Dialect(doublequote=False, escapechar="\\")),
        ('C:\\new,"\\\\server, too"\na,b\n', Dialect()),
        ('a, "b, c"\nd, "e"\n', Dialect(skipinitialspace=True)),
        ('"a, b"; "c; d"\n', Dialect(delimiter=";", skipinitialspace=True)),
        ("one text\nanother\n", Dialect()),
        ('"Hello, world"\nSo; be it\n', Dialect()),
        ("Hello\nthere\nso, be it\nor not\n", Dialect(delimiter="\x1f")),
        ("text\nHello, world\nso, be, it\n", Dialect(delimiter="\x1f")),
        ("anchor, positive\na dog, an animal\n", Dialect()),
        ("text;label\n1,5;a\n", Dialect(delimiter=";")),
        ("how are you, Tom\tfine\n", Dialect(delimiter="\t")),
        ("a|b, c\nd|e, f\n", Dialect(delimiter="|")),
        ("", Dialect()),
    ],
)
def test_what_a_beginning_tells(text: str, dialect: Dialect) -> None:
    for ends in ("\n", "\r\n", "\r"):
        assert sniff(text.replace("\n", ends), is_whole=True, header_words=COLUMN_NAMES) == dialect


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b;c\nd,e;f\n", r"a comma and a semicolon both cut .*\{'delimiter': ';'\}"),
        ("Hello, world\nGood, day\n", r"a comma with a blank .*header, or: .*\{'delimiter': ','\}"),
        ("the question; the answer\n", "a semicolon with a blank"),
        ("C:\\\\a,b\nd\\\\,e\n", "each backslash in it .*'escapechar'"),
        ('5" wide|"two\nlines"\n', "quotes in it stand around lines.*'quotechar': None"),
        ("'so, it is',a\n'so, it was',b\n'so, be it',c\n", "single quotes at the ends .*'quotechar'"),
    ],
)
def test_what_is_doubtful_is_asked(text: str, words: str) -> None:
    with pytest.raises(InvalidData, match=words):
        sniff(text, is_whole=True, header_words=COLUMN_NAMES)
    with pytest.raises(InvalidData, match=f"^{words}"):
        prepare(io.StringIO(text))


def test_a_blank_before_a_quote_that_is_none_is_refused_with_its_line() -> None:
    with pytest.raises(InvalidData, match=r"line 7: a blank stands before a quote.*'skipinitialspace': True") as caught:
        prepare(io.StringIO("a,b\n" * 6 + 'he said, "so" and left\n'))
    assert caught.value.line == 7


def test_a_name_settles_what_was_doubtful() -> None:
    named = CSVOptions(dialect={"delimiter": ","})
    assert read(prepare(io.StringIO("Hello, world\nGood, day\n"), named).path).rows == (
        ("Hello", "world"),
        ("Good", "day"),
    )


def test_a_long_text_at_the_beginning_is_read_whole_before_the_dialect_is_told() -> None:
    long = "a, b\n" * 60_000
    assert found_in(io.StringIO(f'"{long}";"c;d"\n"e";f\n')) == [[long.strip(), "c;d"], ["e", "f"]]


def test_no_more_is_read_for_the_dialect_than_it_needs() -> None:
    taken = 0

    class Endless(io.StringIO):
        def __iter__(self) -> Iterator[str]:  # type: ignore[override] # a file gives itself
            nonlocal taken
            while True:
                taken += 1
                yield "a text,another\n"

    assert prepare(Endless(), CSVOptions(size=10)).rows == 10
    assert taken < 10_000


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["a,b", '"a\n\nb",c', "", '"x, y",z']), min_size=4, max_size=30), st.data())
def test_errors_have_the_line_where_their_row_begins(lines: list[str], data: st.DataObject) -> None:
    place = data.draw(st.integers(3, len(lines)))
    bad = data.draw(st.sampled_from(["a,b,c", "alone", ",b", '"a" b,c', '"never closed,b', "nul\0,b"]))
    ends = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    given = ["first,row", "second,row", "third,row", *lines[:place], bad, *([] if "never" in bad else lines[place:])]
    text = ends.join(line.replace("\n", ends) for line in given)
    with pytest.raises(InvalidData) as caught:
        prepare(io.StringIO(text, newline=""))
    assert caught.value.line == ends.join(given[: 3 + place]).replace("\n", ends).count(ends) + 2
