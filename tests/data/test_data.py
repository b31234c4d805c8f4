from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetuner.data import CSVOptions, PreparedData, prepare, read
from finetuner.errors import InvalidData, InvalidInput

PAIRS = [("a dog barks", "a dog makes noise"), ("it rains, hard", 'he said "wet"')]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "My pairs (1).csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(PAIRS)
    return path


def test_a_csv_becomes_pairs(written: Path, tmp_path: Path) -> None:
    prepared = prepare(written, directory=tmp_path)
    assert (prepared.kind, prepared.columns, prepared.rows) == ("pairs", ("anchor", "positive"), 2)
    content = prepared.path.read_bytes()
    assert prepared.sha256 == hashlib.sha256(content).hexdigest()
    assert prepared.size_bytes == len(content)
    assert prepared.name == f"My-pairs-1-{prepared.sha256[:12]}"
    assert [json.loads(line) for line in content.decode().split("\n")[1:-1]] == [list(row) for row in PAIRS]
    assert read(prepared.path).rows == tuple(PAIRS)


def test_file_list_and_open_file_give_the_same_bytes(written: Path) -> None:
    prepared = [prepare(written), prepare(PAIRS), prepare(str(written)), prepare(io.StringIO(written.read_text()))]
    assert len({one.sha256 for one in prepared}) == 1
    assert [one.name.rpartition("-")[0] for one in prepared] == ["My-pairs-1", "data", "My-pairs-1", "data"]


def test_an_open_file_gives_its_name(written: Path) -> None:
    with written.open(encoding="utf-8") as file:
        assert prepare(file).name.startswith("My-pairs-1-")


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_the_delimiter_is_told_from_the_file(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "data.csv"
    rows = [(f"one, two; three {i}", f"four, five {i}") for i in range(20)]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    assert read(prepare(path).path).rows == tuple(rows)


@pytest.mark.parametrize(
    ("text", "options", "kind", "rows"),
    [
        ("query,label\nq,1\n", CSVOptions(is_labeled=True), "labelled", [("q", "1")]),
        ("anchor,positive,negative\na,b,c\n", CSVOptions(), "triplets", [("a", "b", "c")]),
        ("text\nfirst\nsecond\n", CSVOptions(), "texts", [("first",), ("second",)]),
        ("query,other\na,b\n", CSVOptions(), "pairs", [("query", "other"), ("a", "b")]),
        ("a,b,0.50\nc,d,-1\n", CSVOptions(), "scored", [("a", "b", "0.5"), ("c", "d", "-1.0")]),
        ("sentence1,sentence2,score\na,b,1e-1\n", CSVOptions(), "scored", [("a", "b", "0.1")]),
        ("a,b,1984\nc,d,word\n", CSVOptions(), "triplets", [("a", "b", "1984"), ("c", "d", "word")]),
        ("anchor,positive,negative\na,b,7\n", CSVOptions(), "triplets", [("a", "b", "7")]),
        ("q,p,n,2\nq,p,n,-.5\n", CSVOptions(), "margins", [("q", "p", "n", "2.0"), ("q", "p", "n", "-0.5")]),
        ("query,positive,negative,margin\nq,p,n,3\n", CSVOptions(), "margins", [("q", "p", "n", "3.0")]),
        ("\ufeffa,b\r\n\r\nc,d", CSVOptions(), "pairs", [("a", "b"), ("c", "d")]),
        ("a,b\nc,d\ne,f\n", CSVOptions(size=2), "pairs", [("a", "b"), ("c", "d")]),
        ("a;b,c\n", CSVOptions(dialect="excel"), "pairs", [("a;b", "c")]),
        ('"a\nb",c\n', CSVOptions(), "pairs", [("a\nb", "c")]),
        ('a,"b ""c""\nd"', CSVOptions(), "pairs", [("a", 'b "c"\nd')]),
        ("\nquery,document\na,b\n", CSVOptions(), "pairs", [("a", "b")]),
    ],
)
def test_what_a_file_means(
    tmp_path: Path, text: str, options: CSVOptions, kind: str, rows: list[tuple[str, ...]]
) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(text.encode())
    found = read(prepare(path, options).path)
    assert (found.kind, list(found.rows)) == (kind, rows)


def test_lists(tmp_path: Path) -> None:
    def kind(rows: list[Any], options: CSVOptions | None = None) -> PreparedData:
        return prepare(rows, options, directory=tmp_path)

    assert kind(["a", "b"]).kind == "texts"
    assert kind([("a", 1), ("b", 2)]).kind == "labelled"
    assert kind([("a", "1")], CSVOptions(is_labeled=True)).kind == "labelled"
    assert kind([["a", "b", "c"]]).kind == "triplets"
    assert kind([("query", "label")]).rows == 1, "a list has no header"
    assert read(kind([("a", "b", 1), ("c", "d", 0.25)]).path).rows == (("a", "b", "1.0"), ("c", "d", "0.25"))
    assert kind([("a", "b", "0.5")]).kind == "triplets", "a text stays a text"
    margins = kind([("a", "b", "c", -3), ("a", "b", "c", "0.5")])
    assert (margins.kind, read(margins.path).column(3)) == ("margins", ["-3.0", "0.5"])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("a", "b", 0.5), ("a", "b", "c")], "row 2: column 3, the score, must be a finite number, not 'c'"),
        ([("a", "b", "c"), ("a", "b", 0.5)], "row 2: column 3 is the number 0.5, and a text in the rows before"),
        ([("a", "b", 3)], "row 1: .* from -1 to 1, not 3"),
        ([("a", "b", True)], "row 1: (it|column [23]) must be a text"),
        ([("a", "b", "c", float("nan"))], "row 1: column 4, the margin, must be a finite number, not nan"),
        ([("a", "b", "c", 10**400)], "row 1: column 4, the margin, must be a finite number"),
        ([("a", 1.5)], "row 1: (it|column [23]) must be a text"),
        ([("a", 0.5, "c", 1.0)], "row 1: (it|column [23]) must be a text"),
    ],
)
def test_numbers_are_checked(tmp_path: Path, rows: list[Any], words: str) -> None:
    with pytest.raises(InvalidData, match=words):
        prepare(rows, directory=tmp_path)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_margin_comes_back_as_it_was(margin: float) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        row = read(prepare([("q", "p", "n", margin)], directory=Path(folder)).path).rows[0]
    assert float(row[-1]) == margin


def test_scores_of_a_file_and_of_a_list_give_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a,b,0.30\nc,d,1\n", encoding="utf-8")
    assert prepare(path).sha256 == prepare([("a", "b", 0.3), ("c", "d", 1)]).sha256


def test_a_number_that_was_damaged_is_found(tmp_path: Path) -> None:
    path = prepare([("q", "p", "n", 0.5)], directory=tmp_path).path
    path.write_text(path.read_text(encoding="utf-8").replace("0.5", "half"), encoding="utf-8")
    with pytest.raises(InvalidData, match="the margin, must be a finite number") as caught:
        read(path)
    assert caught.value.line == 2


def test_a_sample_is_the_same_each_time(tmp_path: Path) -> None:
    rows = [(f"a{i}", f"b{i}") for i in range(1000)]
    first, second = (prepare(rows, CSVOptions(sampling_rate=0.3), directory=tmp_path) for _ in range(2))
    assert first.sha256 == second.sha256
    assert 200 < first.rows < 400


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"a,b\nc,d\n\ne,f,g\n", 4, "3 columns, and 2"),
        (b'a,b\n"c\nc",d\ne\n', 4, "1 column, and 2"),
        (b"a,b\nc, \n", 2, "column 2 is empty"),
        (b"a,b,c,d\n", 1, "column 4, the margin, must be a finite number, not 'd'"),
        (b"a,b,c,d,e\n", 1, "5 columns"),
        (b"query,positive,negative,margin\na,b,c,0.5\na,b,c,inf\n", 3, "the margin, must be a finite number"),
        (b"query,positive,score\na,b,0.5\na,b,much\n", 3, "column 3, the score, must be a finite number, not 'much'"),
        (b"a,b,0.5\nc,d,4.5\n", 2, "a cosine, from -1 to 1, not 4.5"),
        (b"a,b,0.5\nc,d\n", 2, "2 columns, and 3"),
        (b"a,b,0.5\nc,d,\n", 2, "column 3 is empty"),
        (b'a,b\nx,"open\nlast,row\nmore,rows\n', 2, "a quote is opened in it and never closed"),
        (b'"open,b\nc,d', 1, "a quote is opened in it and never closed"),
        (b'a,b\r\n"c\r\nd","e\r\nf,g\r\n', 3, "a quote is opened in it and never closed"),
        (b'a,b\nc,"open\n' + b"e,f\n" * 40_000, 2, "a quote is opened in it and never closed"),
        (b"", None, "no row"),
        (b"query,label\n", None, "no row"),
        (b"a,b\ncaf\xe9,d\n", 2, "byte 7 "),
    ],
)
def test_bad_files_are_refused_with_the_line(tmp_path: Path, content: bytes, line: int | None, words: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidData, match=words) as caught:
        prepare(path, directory=tmp_path)
    assert (caught.value.path, caught.value.line) == (path, line)
    assert list(tmp_path.iterdir()) == [path], "nothing half-written"


def test_the_encoding_can_be_said(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes("café,thé\n".encode("latin-1"))
    with pytest.raises(InvalidData, match=r"CSVOptions\(encoding="):
        prepare(path)
    assert read(prepare(path, CSVOptions(encoding="latin-1")).path).rows == (("café", "thé"),)


@given(
    st.text(st.characters(codec="utf-8", exclude_characters='\0\r\n,"\t;|'), min_size=1, max_size=40), st.integers(0)
)
def test_the_bad_byte_is_found_wherever_it_is(text: str, repeat: int) -> None:
    import tempfile

    good = f"{text}x,y\n".encode() * (1 + repeat % 5000)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bad.csv"
        path.write_bytes(good + b"z\xff,y\n")
        with pytest.raises(InvalidData) as caught:
            prepare(path)
    assert f"byte {len(good) + 1} " in str(caught.value)
    assert caught.value.line == good.count(b"\n") + 1


def test_missing_files_folders_and_other_values(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="No such file"):
        prepare(tmp_path / "none.csv")
    with pytest.raises(InvalidData, match="directory"):
        prepare(tmp_path)
    with pytest.raises(InvalidData, match="row 2"):
        prepare([("a", "b"), 3])
    with pytest.raises(InvalidData, match="not int"):
        prepare(3)  # type: ignore[arg-type]
    with pytest.raises(InvalidData, match="surrogate"):
        prepare([("a", "\ud800")])
    with pytest.raises(InvalidData, match="binary"):
        prepare(io.BytesIO(b"a,b\n"))


@pytest.mark.parametrize(
    "options",
    [
        {"size": 0},
        {"size": True},
        {"sampling_rate": 0},
        {"sampling_rate": 1.5},
        {"encoding": "utf-9"},
        {"encoding": "rot13"},
        {"encoding": "base64"},
        {"encoding": "a\0"},
        {"encoding": 8},
        {"dialect": "x"},
        {"is_labeled": "yes"},
        {"convert_to_blob": 1},
        {"create_point_clouds": None},
        {"point_cloud_size": 0},
    ],
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=f"CSVOptions: .*{next(iter(options))}"):
        CSVOptions(**options)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]\n",
        b'{"format":"finetuner-data/2","kind":"pairs","columns":["anchor","positive"]}\n',
        b'{"format":"finetuner-data/1","kind":"pairs","columns":["anchor","positive"]}\n["a"]\n',
        b'{"format":"finetuner-data/1","kind":"pairs","columns":["anchor","positive"]}\n["a","b\n',
    ],
)
def test_a_damaged_data_set_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(content)
    with pytest.raises(InvalidData):
        read(path)


@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=1))
def test_every_text_survives(rows: list[tuple[str, str]]) -> None:
    stripped = tuple((a.strip(), b.strip()) for a, b in rows)
    try:
        prepared = prepare(rows)
    except InvalidData:
        assert not all(all(row) for row in stripped) or any(_has_surrogate(cell) for row in rows for cell in row)
        return
    assert read(prepared.path).rows == stripped
    prepared.path.unlink()
    prepared.path.parent.rmdir()


def _has_surrogate(text: str) -> bool:
    return any(0xD800 <= ord(char) <= 0xDFFF for char in text)


def _synthesized(path: Path, *rows: list[str], **manifest: Any) -> Path:
    lines = [{"format": "finetuner-data/1", "kind": "margins", "columns": ["query", "positive", "negative", "margin"]}]
    content = b"".join(json.dumps(line).encode() + b"\n" for line in (*lines, *rows))
    described = {"format": "finetuner-training-data/1", "files": {"train.jsonl": {"sha256": _sha256(content)}}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", json.dumps({**described, **manifest}))
        archive.writestr("train.jsonl", content)
    return path


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_what_a_synthesis_run_left_is_data(tmp_path: Path) -> None:
    path = _synthesized(tmp_path / "made.zip", ["q", "p", "n", "0.5"], ["q", "p", "other", "-0.25"])
    assert read(path).rows == (("q", "p", "n", "0.5"), ("q", "p", "other", "-0.25"))
    prepared = prepare(path, directory=tmp_path)
    assert (prepared.kind, prepared.rows) == ("margins", 2)
    assert prepared.name.startswith("made-")
    assert read(prepared.path) == read(path)
    assert prepare(path, CSVOptions(size=1), directory=tmp_path).rows == 1


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ({"format": "finetuner-artifact/1"}, "holds no training data.*model_artifact"),
        ({"format": "finetuner-training-data/9"}, "holds no training data"),
        ({"files": {}}, "damaged"),
        ({"files": {"train.jsonl": {"sha256": "0" * 64}}}, "damaged"),
        ({"files": 5}, r"manifest\.json cannot be read"),
    ],
)
def test_other_zips_are_no_data(tmp_path: Path, manifest: dict[str, Any], words: str) -> None:
    path = _synthesized(tmp_path / "other.zip", ["q", "p", "n", "0.5"], **manifest)
    for reader in (read, prepare):
        with pytest.raises(InvalidData, match=rf"other\.zip: .*{words}"):
            reader(path)


def test_a_zip_without_a_manifest_or_with_a_damaged_entry_is_no_data(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "plain.zip", "w") as archive:
        archive.writestr("train.csv", "a,b")
    with pytest.raises(InvalidData, match="no zip of a synthesis run"):
        prepare(tmp_path / "plain.zip")
    path = _synthesized(tmp_path / "cut.zip", ["q", "p", "n", "0.5"])
    path.write_bytes(path.read_bytes().replace(b'"0.5"', b'"0.6"'))
    with pytest.raises(InvalidData, match="not a whole zip"):
        read(path)


def test_an_encrypted_zip_is_no_data(tmp_path: Path) -> None:
    path = _synthesized(tmp_path / "made.zip", ["q", "p", "n", "0.5"])
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        content[archive.start_dir + 8] |= 1
    path.write_bytes(content)
    for reader in (read, prepare):
        with pytest.raises(InvalidData, match=r"made\.zip: 'manifest\.json' in it is encrypted"):
            reader(path)
