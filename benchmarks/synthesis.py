"""What a model learns from synthesized data: quality on held-out queries, before and after.

    python -m benchmarks.synthesis --seeds 3

A model that was tuned on pairs is the teacher. The student, the same model before any tuning, is trained on what a
synthesis makes of the sentences alone, the techniques' names and the teacher: it never sees which belong together.
Sentences about other actors, ATT&CK's, tell what it learned.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

import finetuner
from benchmarks.measure import Measured as Benchmarked
from benchmarks.measure import Options, Table
from finetuner import local
from finetuner.callback import EvaluationCallback
from finetuner.cli.demo_data import write_demo_data
from finetuner.cli.demo_scripts import BATCH_SIZE, LEARNING_RATE, LOSS, MAX_SEQ_LENGTH, MODEL
from finetuner.data import read
from finetuner.model import SynthesisModels

DEADLINE_S = 3600
"""Ends a run that hangs."""


@attrs.frozen(kw_only=True)
class Measured:
    """What one seed gave; each quality is recall@1 and MRR over the names."""

    seed: int
    before: dict[str, float]
    """The student as it is before any tuning."""
    after: dict[str, float]
    """The student, trained on synthesized data."""
    teacher: dict[str, float]
    rows: int
    """Of training data that were synthesized."""
    seconds: dict[str, float]
    """What each of the three runs took."""

    @property
    def gain(self) -> float:
        """Recall@1 after, less before."""
        return self.after["recall_at_1"] - self.before["recall_at_1"]


@contextlib.contextmanager
def own_server(folder: Path, *, warm_workers: int = 0) -> Iterator[None]:
    """Use an embedded server of one's own, in a folder, and stop it at the end.

    Args:
        folder: Where all that it keeps goes.
        warm_workers: Workers that wait ready; while one loads its libraries, nothing else can be measured fairly.
    """
    names = {f"FINETUNER_{name}_DIR": str(folder / name.lower()) for name in ("STATE", "CONFIG", "CACHE")}
    names["FINETUNER_WARM_WORKERS"] = str(warm_workers)
    unset = ("FINETUNER_HOST", "FINETUNER_TOKEN", "FINETUNER_JOB_ARGV")
    before = {name: os.environ.get(name) for name in (*names, *unset)}
    for name in unset:
        os.environ.pop(name, None)
    os.environ.update(names)
    try:
        yield
    finally:
        finetuner.close()
        try:
            local.stop_server(timeout_s=30)
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


def measure(folder: Path, *, seed: int, steps: int, relations: int = 1, test_queries: int | None = None) -> Measured:
    """Tune a teacher, synthesize with it, train a student on that, and measure all three.

    Args:
        folder: Where data and artifacts go.
        seed: Of the split, the order and the training.
        steps: Optimizer steps of the teacher; so many times 64 sentences are the synthesis' queries.
        relations: Rows that each of the two miners contributes for a query.
        test_queries: Held-out sentences to measure with; None: all 1,500.
    """
    demo = write_demo_data(folder, steps=steps, seed=seed)
    evaluation = EvaluationCallback(
        query_data=str(folder / "queries.csv"),
        index_data=str(folder / "names.csv"),
        query_sample_size=test_queries,
    )
    shared: dict[str, Any] = {
        "model": MODEL,
        "model_options": {"max_seq_length": MAX_SEQ_LENGTH},
        "batch_size": BATCH_SIZE,
        "learning_rate": LEARNING_RATE,
        "epochs": 1,
        "seed": seed,
        "callbacks": [evaluation],
        "progress": False,
    }
    teacher, teacher_s = _timed(finetuner.fit(train_data=str(folder / "train.csv"), loss=LOSS, **shared))
    made, made_s = _timed(
        finetuner.synthesize(
            query_data=_sentences(folder / "train.csv"),
            corpus_data=demo.names,
            models=SynthesisModels([MODEL, teacher], cross_encoder=None),
            num_relations=relations,
            progress=False,
        )
    )
    student, student_s = _timed(finetuner.fit(train_data=made, loss="MarginMSELoss", **shared))
    rows = len(read(made.save_artifact(folder, progress=False)).rows)
    told, taught = student.metrics(), teacher.metrics()
    return Measured(
        seed=seed,
        before=told["before"],
        after=told["after"],
        teacher=taught["after"],
        rows=rows,
        seconds={"teacher": teacher_s, "synthesis": made_s, "student": student_s},
    )


def _sentences(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        return [row[0] for row in csv.reader(file)][1:]


def _timed(run: finetuner.Run) -> tuple[finetuner.Run, float]:
    started_at = time.perf_counter()
    run.wait(DEADLINE_S)
    return run, time.perf_counter() - started_at


def show(measured: list[Measured]) -> None:
    """Print a table: one row a seed."""
    print("\nHeld-out quality of a student of synthesized data: recall@1 (MRR) of sentences about other actors")
    print(f"  {'seed':>4} {'rows':>6} {'before':>15} {'after':>15} {'gain':>7} {'teacher':>15}  seconds")
    for one in measured:
        before, after, teacher = (
            f"{values['recall_at_1']:.3f} ({values['reciprocal_rank']:.3f})"
            for values in (one.before, one.after, one.teacher)
        )
        seconds = ", ".join(f"{name} {value:.0f}" for name, value in one.seconds.items())
        print(f"  {one.seed:4} {one.rows:6} {before:>15} {after:>15} {one.gain:+7.3f} {teacher:>15}  {seconds}")


def tables(options: Options) -> list[Table]:
    """Give a table of the whole benchmark, or of one short way through it."""
    seeds, steps, queries = (3, 40, None) if options.is_full else (1, options.pick(2, 10), options.pick(20, 200))
    with tempfile.TemporaryDirectory(prefix="finetuner-synthesis-") as folder, own_server(Path(folder)):
        done = [
            measure(Path(folder, f"seed-{seed}"), seed=seed, steps=steps, test_queries=queries) for seed in range(seeds)
        ]
    qualities = ("before any tuning", "before"), ("after, on synthesized data", "after"), ("its teacher", "teacher")
    rows = [
        Benchmarked(name=f"{name}, recall@1", values=[getattr(one, way)["recall_at_1"] * 100 for one in done], unit="%")
        for name, way in qualities
    ]
    rows += [
        Benchmarked(name=f"the {run}, whole run", values=[one.seconds[run] for one in done], unit="s")
        for run in done[0].seconds
    ]
    return [Table(title=f"A student of synthesized data, {steps} steps of its teacher", rows=rows)]


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.synthesis", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="how many (default: 3)")
    parser.add_argument("--steps", type=int, default=40, help="of the teacher, 64 sentences each (default: 40)")
    parser.add_argument("--relations", type=int, default=1, help="rows a miner and query (default: 1)")
    parser.add_argument("--test-queries", type=int, default=None, help="held-out sentences (default: all 1,500)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="finetuner-synthesis-") as folder, own_server(Path(folder)):
        measured = []
        for seed in range(options.seeds):
            measured.append(
                measure(
                    Path(folder, f"seed-{seed}"),
                    seed=seed,
                    steps=options.steps,
                    relations=options.relations,
                    test_queries=options.test_queries,
                )
            )
            show(measured)


if __name__ == "__main__":
    main()
