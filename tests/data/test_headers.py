from __future__ import annotations

import io

import pytest

from finetuner.data import CSVOptions, prepare, read
from finetuner.errors import InvalidData


@pytest.mark.parametrize(
    ("text", "is_labeled", "kind", "rows"),
    [
        ("positive,anchor\np,a\n", False, "pairs", [("a", "p")]),
        (" Positive ,ANCHOR\np,a\n", False, "pairs", [("a", "p")]),
        ("question,answer\nq,a\n", False, "pairs", [("q", "a")]),
        ("negative,query,positive\nn,q,p\n", False, "triplets", [("q", "p", "n")]),
        ("score,sentence1,sentence2\n0.5,a,b\n", False, "scored", [("a", "b", "0.5")]),
        ("margin,query,negative,positive\n3,q,n,p\n", False, "margins", [("q", "p", "n", "3.0")]),
        ("label,text\nx,a\n", False, "labelled", [("a", "x")]),
        ("text,label\na,x\n", True, "labelled", [("a", "x")]),
        ("class;query\nx;a\n", True, "labelled", [("a", "x")]),
        ("document,query\nd,x\n", True, "labelled", [("d", "x")]),
        ("sentence\na\n", False, "texts", [("a",)]),
        ("query,other\na,b\n", False, "pairs", [("query", "other"), ("a", "b")]),
    ],
)
def test_columns_of_a_file_are_taken_by_name(
    text: str, is_labeled: bool, kind: str, rows: list[tuple[str, ...]]
) -> None:
    found = read(prepare(io.StringIO(text), CSVOptions(is_labeled=is_labeled)).path)
    assert (found.kind, list(found.rows)) == (kind, rows)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("anchor,positive,id\na,b,1\n", "reads like a header .*not known: 'id'. Leave those out"),
        ("premise,hypothesis,label\na,b,c\n", "a header, and its columns .* make no data set"),
        ("text,text\na,b\n", "a header, and its columns"),
        ("positive,negative\na,b\n", "a header, and its columns"),
        ("score,sentence1,sentence2\n0.5,a,b\nmuch,a,b\n", "the score, must be a finite number, not 'much'"),
    ],
)
def test_columns_that_make_no_data_are_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidData, match=words):
        prepare(io.StringIO(text))


def test_numbers_without_a_header_are_scores_of_a_file_of_any_length() -> None:
    lines = [f"a text {n},another,0.{n}\n" for n in range(50_000)]
    assert read(prepare(io.StringIO("".join(lines))).path).rows[-1] == ("a text 49999", "another", "0.49999")
    last = read(prepare(io.StringIO("".join([*lines, "a,b,word\n"]))).path)
    assert (last.kind, len(last.rows), last.rows[0]) == ("triplets", 50_001, ("a text 0", "another", "0.0"))


def test_numbers_without_a_header_are_not_held_in_memory() -> None:
    import tracemalloc

    lines = (f"a text {n},another,0.5\n" for n in range(60_000))

    class Stream(io.StringIO):
        def __iter__(self):  # type: ignore[no-untyped-def] # noqa: ANN204 - a file gives itself
            return lines

    tracemalloc.start()
    try:
        assert prepare(Stream()).kind == "scored"
        assert tracemalloc.get_traced_memory()[1] < 6 << 20, "held whole, they would take more than 20 MB"
    finally:
        tracemalloc.stop()
