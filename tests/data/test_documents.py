"""Documents of the real DocArray, of the version that the old client used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import docarray
import numpy as np
import pytest
from docarray import Document, DocumentArray

from finetuner.data import CSVOptions, prepare, read
from finetuner.errors import InvalidData

assert docarray.__version__.startswith("0.21."), "later ones have no DocumentArray"


def chunks(*texts: str, **tags: Any) -> Any:
    return Document(chunks=[Document(text=text) for text in texts], tags=tags)


@pytest.mark.parametrize(
    ("documents", "kind", "rows"),
    [
        ([Document(text="a", tags={"finetuner_label": "x"})], "labelled", [("a", "x")]),
        ([Document(content="a", tags={"finetuner_label": 3})], "labelled", [("a", "3")]),
        (
            [chunks("a", "b", finetuner_score=0.5), chunks("c", "d", finetuner_score="0")],
            "scored",
            [("a", "b", "0.5"), ("c", "d", "0.0")],
        ),
        ([chunks("a", "b"), chunks("c", "d")], "pairs", [("a", "b"), ("c", "d")]),
        ([chunks("a", "b", "c")], "triplets", [("a", "b", "c")]),
        ([chunks("q", "p", "n", finetuner_score=7.5)], "margins", [("q", "p", "n", "7.5")]),
        ([Document(text="q", matches=[Document(text="a"), Document(text="b")])], "pairs", [("q", "a"), ("q", "b")]),
        ([Document(text="a"), Document(text="b")], "texts", [("a",), ("b",)]),
    ],
)
def test_documents_are_read_as_the_old_client_read_them(
    tmp_path: Path, documents: list[Any], kind: str, rows: list[tuple[str, ...]]
) -> None:
    found = read(prepare(DocumentArray(documents), directory=tmp_path).path)
    assert (found.kind, list(found.rows)) == (kind, rows)


def test_labels_survive_the_journey_of_an_array(tmp_path: Path) -> None:
    sent = DocumentArray([Document(text="a", tags={"finetuner_label": 3})]).to_bytes("protobuf")
    got = DocumentArray.from_bytes(sent, "protobuf")
    assert read(prepare(got, directory=tmp_path).path).rows == (("a", "3"),)


@pytest.mark.parametrize(
    ("documents", "words"),
    [
        ([Document(text="a"), Document(tensor=np.zeros(3))], "document 2: it has no text; images"),
        ([chunks("a", "b"), chunks("a", "")], "document 2: its chunk 2 has no text"),
        ([chunks("a")], "document 1: it has 1 chunk;"),
        ([chunks("a", "b", "c", "d")], "document 1: it has 4 chunks;"),
        ([chunks("a", "b", finetuner_score="much")], "document 1: its tag 'finetuner_score' must be a finite number"),
        ([chunks("a", "b", finetuner_score=3)], "row 1: .* from -1 to 1, not 3"),
        (
            [Document(text="a", tags={"finetuner_label": "x"}), Document(text="b")],
            "document 2: it has no tag 'finetuner_label'",
        ),
        ([Document(text="a"), Document(text="b", tags={"finetuner_label": "x"})], "document 2: it has the tag"),
        ([Document(text="a", tags={"finetuner_label": [1]})], "document 1: its tag 'finetuner_label' must be a text"),
        (
            [Document(text="a", matches=[Document(text="b", tags={"finetuner_label": 1})])],
            "document 1: a match of it has",
        ),
        ([], "no row of data"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_with_its_place(tmp_path: Path, documents: list[Any], words: str) -> None:
    with pytest.raises(InvalidData, match=words):
        prepare(DocumentArray(documents), directory=tmp_path)


def test_labels_that_were_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="labelled data has two columns"):
        prepare(DocumentArray([Document(text="a")]), CSVOptions(is_labeled=True), directory=tmp_path)
