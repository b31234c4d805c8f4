"""Steps per second and held-out quality of a run, beside a script of bare sentence-transformers.

    python -m benchmarks.training --seeds 3

Both train the demo's model on the same sentences of ATT&CK, with the same loss, optimizer, seed and settings: one as a
run on an embedded server, the other in a process of its own. Sentences about other actors tell what either learned. The
one that goes first changes with each seed.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import attrs
import numpy as np

import finetuner
from benchmarks.measure import Goal, Options, Table
from benchmarks.measure import Measured as Benchmarked
from benchmarks.synthesis import DEADLINE_S, own_server
from finetuner.cli.demo_data import write_demo_data
from finetuner.cli.demo_scripts import BATCH_SIZE, LEARNING_RATE, LOSS, MAX_SEQ_LENGTH, MODEL
from finetuner.model import EmbeddingModel, find_model, load_model

GOAL = 0.95
"""Of the bare script's speed, at least."""
BARE = """
import csv, json, sys, time
import torch, transformers
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

told = json.loads(sys.argv[1])
transformers.set_seed(told["seed"])
model = SentenceTransformer(told["model"], device="cpu")
model.max_seq_length = told["max_seq_length"]
with open(told["data"], newline="", encoding="utf-8") as file:
    rows = list(csv.reader(file))[1:]
data = Dataset.from_dict({"anchor": [row[0] for row in rows], "positive": [row[1] for row in rows]})
arguments = SentenceTransformerTrainingArguments(
    output_dir=told["folder"] + "/trainer", num_train_epochs=1, per_device_train_batch_size=told["batch_size"],
    seed=told["seed"], data_seed=told["seed"], use_cpu=True, save_strategy="no", logging_strategy="no", report_to=[],
    disable_tqdm=True,
)
optimizer = torch.optim.Adam(model.parameters(), lr=told["learning_rate"])
schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
trainer = SentenceTransformerTrainer(
    model=model, args=arguments, train_dataset=data, loss=MultipleNegativesRankingLoss(model),
    optimizers=(optimizer, schedule),
)
started_at = time.monotonic()
trainer.train()
seconds = time.monotonic() - started_at
model.save_pretrained(told["folder"] + "/model", create_model_card=False)
print(json.dumps({"steps": trainer.state.global_step, "seconds": seconds}))
"""


@attrs.frozen(kw_only=True)
class Trained:
    """What one training gave."""

    steps_per_s: float
    recall: float
    """At 1, over the names of all techniques."""


@attrs.frozen(kw_only=True)
class Measured:
    """What one seed gave."""

    seed: int
    bare: Trained
    ours: Trained

    @property
    def ratio(self) -> float:
        """Steps per second of a run, as a share of the bare script's."""
        return self.ours.steps_per_s / self.bare.steps_per_s


def measure(folder: Path, *, seed: int, steps: int, test_queries: int | None = None) -> Measured:
    """Train both ways with one seed.

    Args:
        folder: Where data and models go.
        seed: Of the split, the order and the training.
        steps: Optimizer steps, of 64 sentences each.
        test_queries: Held-out sentences to measure with; None: all 1,500.
    """
    write_demo_data(folder, steps=steps, seed=seed)
    ways: dict[str, Callable[[], tuple[float, EmbeddingModel]]] = {
        "bare": lambda: _bare(folder, seed),
        "ours": lambda: _ours(folder, seed),
    }
    done = {}
    for name in sorted(ways, reverse=bool(seed % 2)):
        steps_per_s, model = ways[name]()
        done[name] = Trained(steps_per_s=steps_per_s, recall=_recall(model, folder, test_queries))
    return Measured(seed=seed, **done)


def _bare(folder: Path, seed: int) -> tuple[float, EmbeddingModel]:
    told = {
        "model": str(find_model(MODEL)),
        "data": str(folder / "train.csv"),
        "folder": str(folder / "bare"),
        "batch_size": BATCH_SIZE,
        "learning_rate": LEARNING_RATE,
        "max_seq_length": MAX_SEQ_LENGTH,
        "seed": seed,
    }
    argv = [sys.executable, "-c", BARE, json.dumps(told)]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=DEADLINE_S)
    said = json.loads(done.stdout.splitlines()[-1])
    return said["steps"] / said["seconds"], load_model(folder / "bare" / "model", "cpu")


def _ours(folder: Path, seed: int) -> tuple[float, EmbeddingModel]:
    run = finetuner.fit(
        model=MODEL,
        model_options={"max_seq_length": MAX_SEQ_LENGTH},
        train_data=str(folder / "train.csv"),
        loss=LOSS,
        optimizer="Adam",
        learning_rate=LEARNING_RATE,
        batch_size=BATCH_SIZE,
        epochs=1,
        seed=seed,
        device="cpu",
        progress=False,
    )
    run.wait(DEADLINE_S)
    found = re.search(r"trained (\d+) steps in ([\d.]+) s", "\n".join(run.logs()))
    if found is None:
        raise SystemExit(f"the log of run {run.name} does not say how long it trained")
    return int(found[1]) / float(found[2]), finetuner.get_model(run, device="cpu")


def _recall(model: EmbeddingModel, folder: Path, test_queries: int | None) -> float:
    queries, names = _rows(folder / "queries.csv")[:test_queries], _rows(folder / "names.csv")
    labels = np.array([label for _, label in names])
    vectors = [model.encode([text for text, _ in rows]) for rows in (queries, names)]
    asked, found = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in vectors)
    return float(np.mean(labels[(asked @ found.T).argmax(axis=1)] == [label for _, label in queries]))


def _rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


def show(measured: list[Measured]) -> None:
    """Print a table: one row a seed, then what the seeds have in common."""
    print(f"\nTraining beside bare sentence-transformers (goal: at least {GOAL} of its steps per second)")
    print(f"  {'seed':>4} {'bare':>12} {'a run':>12} {'ratio':>6} {'recall@1 bare':>14} {'a run':>7}")
    for one in measured:
        print(
            f"  {one.seed:4} {one.bare.steps_per_s:8.3f} st/s {one.ours.steps_per_s:8.3f} st/s {one.ratio:6.2f}"
            f" {one.bare.recall:14.3f} {one.ours.recall:7.3f}"
        )
    bare, ours = ([getattr(one, way).recall for one in measured] for way in ("bare", "ours"))
    spread = max(bare) - min(bare)
    print(
        f"  median ratio {statistics.median(one.ratio for one in measured):.2f}; mean recall@1 "
        f"{statistics.fmean(bare):.3f} bare, {statistics.fmean(ours):.3f} a run; spread of the bare seeds {spread:.3f}"
    )


def tables(options: Options) -> list[Table]:
    """Give a table of the whole benchmark, or of one short training of each kind."""
    seeds, steps, queries = (3, 40, None) if options.is_full else (1, options.pick(2, 10), options.pick(20, 200))
    with tempfile.TemporaryDirectory(prefix="finetuner-training-") as folder, own_server(Path(folder)):
        done = [
            measure(Path(folder, f"seed-{seed}"), seed=seed, steps=steps, test_queries=queries) for seed in range(seeds)
        ]
    ways = {"bare sentence-transformers": [one.bare for one in done], "ours, a run": [one.ours for one in done]}
    rows = [
        Benchmarked(name=name, values=[one.steps_per_s for one in trained], unit="st/s")
        for name, trained in ways.items()
    ]
    rows += [
        Benchmarked(name=f"{name}, recall@1", values=[one.recall * 100 for one in trained], unit="%")
        for name, trained in ways.items()
    ]
    ratio = statistics.median(one.ratio for one in done)
    return [
        Table(
            title=f"Training, {steps} steps of {BATCH_SIZE} pairs, {seeds} seed{'s'[: seeds > 1]}",
            rows=rows,
            goals=[Goal(what="steps per second, ours over bare", value=ratio, limit=GOAL, is_most=False)],
        )
    ]


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="how many (default: 3)")
    parser.add_argument("--steps", type=int, default=40, help="of 64 sentences each (default: 40)")
    parser.add_argument("--test-queries", type=int, default=None, help="held-out sentences (default: all 1,500)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="finetuner-training-") as folder, own_server(Path(folder)):
        measured = []
        for seed in range(options.seeds):
            measured.append(
                measure(Path(folder, f"seed-{seed}"), seed=seed, steps=options.steps, test_queries=options.test_queries)
            )
            show(measured)


if __name__ == "__main__":
    main()
