"""Frames of the real packages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from finetuner.data import CSVOptions, DataSet, prepare, read
from finetuner.errors import InvalidData

Make = Callable[[dict[str, list[Any]]], Any]
MAKERS: dict[str, Make] = {
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "datasets": datasets.Dataset.from_dict,
    "pyarrow": pa.table,
    "records": lambda columns: [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)],
}


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Make:
    return MAKERS[request.param]


def prepared(source: Any, folder: Path, options: CSVOptions | None = None) -> DataSet:
    return read(prepare(source, options, directory=folder).path)


@pytest.mark.parametrize(
    ("columns", "kind", "rows"),
    [
        ({"anchor": ["a", "b"], "positive": ["c", "d"]}, "pairs", [("a", "c"), ("b", "d")]),
        ({"positive": ["c"], "Anchor ": ["a"]}, "pairs", [("a", "c")]),
        ({"document": ["d"], "query": ["q"]}, "pairs", [("q", "d")]),
        ({"negative": ["n"], "query": ["q"], "positive": ["p"]}, "triplets", [("q", "p", "n")]),
        (
            {"score": [0.5, 1], "sentence1": ["a", "b"], "sentence2": ["c", "d"]},
            "scored",
            [("a", "c", "0.5"), ("b", "d", "1.0")],
        ),
        ({"margin": [3], "query": ["q"], "negative": ["n"], "positive": ["p"]}, "margins", [("q", "p", "n", "3.0")]),
        ({"label": [1, 2], "text": ["a", "b"]}, "labelled", [("a", "1"), ("b", "2")]),
        ({"class": ["x"], "sentence": ["a"]}, "labelled", [("a", "x")]),
        ({"text": ["a", "b"]}, "texts", [("a",), ("b",)]),
        ({"anything": ["a"]}, "texts", [("a",)]),
        ({"left": ["a"], "right": ["b"]}, "pairs", [("a", "b")]),
        ({"left": ["a"], "right": [7]}, "labelled", [("a", "7")]),
        ({"left": ["a"], "right": ["b"], "alike": [0.25]}, "scored", [("a", "b", "0.25")]),
        ({"left": ["a"], "right": ["b"], "wrong": ["c"]}, "triplets", [("a", "b", "c")]),
    ],
)
def test_columns_are_taken_by_name_and_else_in_order(
    make: Make, tmp_path: Path, columns: dict[str, list[Any]], kind: str, rows: list[tuple[str, ...]]
) -> None:
    found = prepared(make(columns), tmp_path)
    assert (found.kind, list(found.rows)) == (kind, rows)


def test_every_kind_of_frame_gives_the_same_bytes_as_a_list(tmp_path: Path) -> None:
    columns = {"anchor": [f"a {n}" for n in range(2500)], "positive": [f"é {n}\n" for n in range(2500)]}
    rows = list(zip(*columns.values(), strict=True))
    made = [prepare(make(columns), directory=tmp_path) for make in MAKERS.values()]
    made += [prepare(rows, directory=tmp_path), prepare((row for row in rows), directory=tmp_path)]
    assert {one.sha256 for one in made} == {made[0].sha256}
    assert {one.rows for one in made} == {2500}


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"anchor": ["a", None], "positive": ["b", "c"]}, r"row 2, column 'anchor': it is empty"),
        ({"anchor": ["a", "b"], "positive": ["b", " "]}, r"row 2, column 'positive': it is empty \(' '\)"),
        ({"anchor": ["a"], "positive": [3]}, r"row 1, column 'positive': it must be a text, not '3' \("),
        ({"anchor": ["a"], "positive": [["b", "c"]]}, r"row 1, column 'positive': it must be a text"),
        ({"text": ["a", "b"], "label": [1.5, 2.0]}, r"row 1, column 'label': a label must be .* not '1\.5'"),
        ({"sentence1": ["a"], "sentence2": ["b"], "score": ["high"]}, r"column 'score': the score must be a finite"),
        ({"sentence1": ["a", "a"], "sentence2": ["b", "b"], "score": [0.5, 7.0]}, "row 2: column 3, .* not 7"),
        ({"id": ["1"], "anchor": ["a"], "positive": ["b"]}, r"'id' is not known. Choose the columns .* data\[\["),
        ({"text": ["a"], "label": [1], "split": ["x"], "lang": ["y"]}, "'split', 'lang' are not known"),
        ({"query": ["a"], "label": ["b"], "positive": ["c"]}, "make no data set. Choose"),
        ({"a": ["a"], "b": ["b"], "c": ["c"], "d": ["d"], "e": ["e"]}, "5 columns"),
        ({"anchor": [], "positive": []}, "no row of data"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_with_its_place(
    make: Make, tmp_path: Path, columns: dict[str, list[Any]], words: str
) -> None:
    if make is MAKERS["pyarrow"] and columns["anchor" if "anchor" in columns else next(iter(columns))] == []:
        columns = {name: pa.array([], pa.string()) for name in columns}
    with pytest.raises(InvalidData, match=words):
        prepare(make(columns), directory=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_labels_can_be_told_by_the_options(make: Make, tmp_path: Path) -> None:
    columns = {"anchor": ["a"], "positive": ["x"]}
    found = prepared(make(columns), tmp_path, CSVOptions(is_labeled=True))
    assert (found.kind, found.rows) == ("labelled", (("a", "x"),))
    with pytest.raises(InvalidData, match="this has 3"):
        prepare(make({**columns, "negative": ["n"]}), CSVOptions(is_labeled=True), directory=tmp_path)


def test_a_part_of_a_frame_can_be_taken(make: Make, tmp_path: Path) -> None:
    frame = make({"text": [f"text {number}" for number in range(100)]})
    assert len(prepared(frame, tmp_path, CSVOptions(size=10)).rows) == 10
    assert 10 < len(prepared(frame, tmp_path, CSVOptions(sampling_rate=0.3)).rows) < 60


def test_the_index_of_pandas_is_no_data_and_its_types_are_read(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": pd.array(["a", "b", "c"], dtype="string"), "label": [1, 2, 3]}, index=[7, 8, 9])
    assert prepared(frame[frame.label != 2], tmp_path).rows == (("a", "1"), ("c", "3"))
    categories = frame.assign(label=pd.Categorical(["x", "y", "x"]), text=frame.text.astype(object))
    assert prepared(categories, tmp_path).column(1) == ["x", "y", "x"]
    floats = pd.DataFrame({"text": ["a", "b"], "label": np.array([1, 2], dtype="float32")})
    assert prepared(floats, tmp_path).column(1) == ["1", "2"], "whole numbers beside a missing one become floats"
    assert prepared(pd.DataFrame([["a", "b"], ["c", "d"]]), tmp_path).rows == (("a", "b"), ("c", "d"))
    for missing in (float("nan"), pd.NA, pd.NaT, None):
        frame = pd.DataFrame({"text": pd.Series(["a", missing], dtype=object)})
        with pytest.raises(InvalidData, match="row 2, column 'text': it is empty"):
            prepare(frame, directory=tmp_path)
    with pytest.raises(InvalidData, match="same name: 'a', 'a'"):
        prepare(pd.DataFrame([["x", "y"]], columns=["a", "a"]), directory=tmp_path)


def test_series_arrays_and_streams_are_read(tmp_path: Path) -> None:
    texts = ["a", "b"]
    for source in (
        pd.Series(texts),
        pl.Series(texts),
        np.array(texts),
        iter(texts),
        tuple(texts),
        {"a": 0, "b": 0}.keys(),
    ):
        if isinstance(source, type({}.keys())):
            with pytest.raises(InvalidData, match="a set has no order"):
                prepare(source, directory=tmp_path)
            continue
        assert prepared(source, tmp_path).rows == (("a",), ("b",))
    assert prepared(np.array([["a", "b"], ["c", "d"]]), tmp_path).kind == "pairs"
    streamed = datasets.Dataset.from_dict({"positive": ["p", "r"], "anchor": ["a", "b"]}).to_iterable_dataset()
    assert prepared(streamed, tmp_path).rows == (("a", "p"), ("b", "r"))


def test_mappings_must_have_the_same_keys(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="row 2: it must have the keys of the first, 'text', not keys 'texts'"):
        prepare([{"text": "a"}, {"texts": "b"}], directory=tmp_path)


def test_what_holds_several_tables_is_refused(tmp_path: Path) -> None:
    split = datasets.DatasetDict(train=datasets.Dataset.from_dict({"text": ["a"]}))
    with pytest.raises(InvalidData, match=r"DatasetDict is no rows; .*data\['train'\]"):
        prepare(split, directory=tmp_path)
    with pytest.raises(InvalidData, match="ndarray is no data that can be read here"):
        prepare(np.zeros((2, 2, 2)), directory=tmp_path)


def test_no_package_of_frames_is_imported() -> None:
    code = (
        "import sys; from finetuner.data import prepare; prepare([('a', 'b')]); "
        "print(sorted({'pandas', 'polars', 'datasets', 'pyarrow', 'docarray', 'torch'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
