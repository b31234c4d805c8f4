"""The training data that a synthesis leaves: the same rows as JSON Lines and as CSV, in one zip."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path

import attrs

from finetuner.api.synthesis import CSV, JSONL, SYNTHESIZED
from finetuner.data import COLUMNS, header_line, row_line
from finetuner.job.worker.relations import Row


@attrs.frozen(kw_only=True)
class TrainSet:
    """What was written."""

    rows: int
    low: float
    """The smallest margin."""
    high: float
    mean: float
    below_zero: int
    """Rows whose negative has the higher score."""


def write_trainset(folder: Path, rows: Iterable[Row]) -> TrainSet:
    """Write rows as `train.jsonl` and `train.csv`.

    Raises:
        OSError: There is no room.
    """
    folder.mkdir(parents=True, exist_ok=True)
    margins: list[float] = []
    with (folder / JSONL).open("wb") as lines, (folder / CSV).open("wb") as raw:
        table = io.TextIOWrapper(raw, encoding="utf-8", newline="", write_through=True)
        # Lines end as RFC 4180 says: then the writer quotes a lone carriage return in a text, too.
        writer = csv.writer(table, lineterminator="\r\n")
        lines.write(header_line(SYNTHESIZED))
        writer.writerow(COLUMNS[SYNTHESIZED])
        for *texts, margin in rows:
            row = [*map(str, texts), repr(margin)]
            lines.write(row_line(row))
            writer.writerow(row)
            margins.append(margin)
        table.flush()
        for file in (lines, raw):
            file.flush()
            os.fsync(file.fileno())
    return TrainSet(
        rows=len(margins),
        low=min(margins, default=0.0),
        high=max(margins, default=0.0),
        mean=sum(margins) / max(len(margins), 1),
        below_zero=sum(margin < 0 for margin in margins),
    )
