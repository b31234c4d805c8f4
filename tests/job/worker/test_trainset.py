"""What a synthesis leaves can be read back by everybody, whatever the texts are."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from finetuner import data
from finetuner.job.worker.trainset import write_trainset

# Texts as a data set has them: not empty, no blanks at their ends; a file with a NUL is read as no CSV.
TEXTS = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).map(str.strip).filter(bool)
AWKWARD = st.sampled_from(["a, b", 'she said "no"', "one\ntwo", "a;b|c\td", "\r", "query", "'", '"', "=1+1", "0.5"])
ROWS = st.tuples(*[TEXTS | AWKWARD.map(str.strip).filter(bool)] * 3, st.floats(-2, 2))


@settings(max_examples=60)
@given(st.lists(ROWS, min_size=1, max_size=12))
def test_the_table_and_the_lines_are_the_same_data_set(rows: list[tuple[str, str, str, float]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = write_trainset(folder, iter(rows))
        lines = data.read(folder / "train.jsonl")
        assert lines.rows == tuple((*texts, repr(margin)) for *texts, margin in rows)
        table = data.prepare(folder / "train.csv", directory=folder)
        assert table.path.read_bytes() == (folder / "train.jsonl").read_bytes()
    margins = [row[3] for row in rows]
    assert (written.rows, written.low, written.high) == (len(rows), min(margins), max(margins))
    assert written.below_zero == sum(margin < 0 for margin in margins)
