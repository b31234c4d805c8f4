from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from docarray import Document, DocumentArray

from finetuner.api.encodable import texts_of
from finetuner.errors import InvalidInput

TEXTS = ["a dog", "", "it rains"]
COLUMN = {"anything": TEXTS}


@pytest.mark.parametrize(
    "data",
    [
        TEXTS,
        tuple(TEXTS),
        (text for text in TEXTS),
        dict.fromkeys(TEXTS).keys(),
        pd.Series(TEXTS),
        pd.Series(TEXTS, index=[7, 8, 9]),
        pd.DataFrame(COLUMN),
        pl.Series(TEXTS),
        pl.DataFrame(COLUMN),
        datasets.Dataset.from_dict(COLUMN),
        datasets.Dataset.from_dict(COLUMN)["anything"],
        pa.table(COLUMN),
        pa.array(TEXTS),
        pa.chunked_array([TEXTS[:1], TEXTS[1:]]),
        np.array(TEXTS),
        np.array(TEXTS, dtype=object),
        np.array(TEXTS).reshape(3, 1),
    ],
    ids=lambda one: type(one).__name__,
)
def test_texts_come_in_many_forms(data: Any) -> None:
    assert texts_of(data) == TEXTS


def test_the_texts_of_documents() -> None:
    assert texts_of(DocumentArray([Document(text="a"), Document(text="b")])) == ["a", "b"]
    with pytest.raises(InvalidInput, match="document 1 has none: images"):
        texts_of(DocumentArray([Document(text="a"), Document(tensor=np.zeros(3))]))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("a text", r"for one text give \['\.\.\.'\]"),
        (b"a text", "not a value of type bytes"),
        (None, "not None"),
        (3, "not a value of type int"),
        ({"text": TEXTS}, r"not a dict; choose one of its values: data\['text'\]"),
        (datasets.DatasetDict(train=datasets.Dataset.from_dict(COLUMN)), "not a DatasetDict"),
        ({"a", "b"}, "a set has no order"),
        (Path("texts.txt"), "not a file; give its lines"),
        (io.StringIO("a"), "not a file; give its lines"),
        (pd.DataFrame({"text": TEXTS, "label": [1, 2, 3]}), r"it has 'text', 'label'; choose one: data\['text'\]"),
        (pl.DataFrame(), "one column of texts, and it has none"),
        (np.array([["a", "b"]]), r"not one of the shape \(1, 2\)"),
        (np.array("a"), r"not one of the shape \(\)"),
        (["a", 3], "item 1 is of type int"),
        (["a", None], r"item 1 is missing \(None\): leave it out"),
        (pd.Series(["a", None]), "item 1 is missing"),
        (pd.Series(["a", pd.NA]), "item 1 is missing"),
        (pl.Series(["a", None]), "item 1 is missing"),
        (pa.array([1, 2]), "item 0 is of type int"),
        ([["a"]], "item 0 is of type list"),
        ([{"text": "a"}], r"item 0 is of type dict; choose its text: \(row\['text'\]"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_what_is_no_text_is_refused(data: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=f"encode takes .*{words}"):
        texts_of(data)
