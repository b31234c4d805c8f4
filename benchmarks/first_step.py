"""From `fit()` to the first training step: a run on a server that is up, beside a bare script from its start."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import finetuner
from benchmarks.measure import Goal, Measured, Options, Table, over, told_in_turn
from benchmarks.synthesis import DEADLINE_S, own_server
from finetuner import local
from finetuner.cli.demo_data import write_demo_data
from finetuner.cli.demo_scripts import BATCH_SIZE, LOSS, MAX_SEQ_LENGTH, MODEL
from finetuner.model import find_model

BARE_NAME, OURS, COLD = "a bare script, from its start", "ours, from fit()", "ours, the server's start with it, once"
BARE = """
import csv, json, sys
told = json.loads(sys.argv[1])
from datasets import Dataset
from transformers import TrainerCallback
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss


class Tell(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        print("step", state.global_step, flush=True)


model = SentenceTransformer(told["model"], device="cpu")
model.max_seq_length = told["max_seq_length"]
with open(told["data"], newline="", encoding="utf-8") as file:
    rows = list(csv.reader(file))[1:]
data = Dataset.from_dict({"anchor": [row[0] for row in rows], "positive": [row[1] for row in rows]})
arguments = SentenceTransformerTrainingArguments(
    output_dir=told["folder"], num_train_epochs=1, per_device_train_batch_size=told["batch_size"], use_cpu=True,
    save_strategy="no", logging_strategy="no", report_to=[], disable_tqdm=True,
)
SentenceTransformerTrainer(
    model=model, args=arguments, train_dataset=data, loss=MultipleNegativesRankingLoss(model), callbacks=[Tell()],
).train()
"""


def measure(options: Options) -> list[Table]:
    """Measure both on the same data; a step is told when it has ended."""
    batch_size = options.pick(8, BATCH_SIZE)
    with tempfile.TemporaryDirectory(prefix="finetuner-first-step-") as name, own_server(Path(name)):
        folder = Path(name)
        write_demo_data(folder, steps=1)
        with (folder / "train.csv").open(newline="", encoding="utf-8") as file:
            rows = [tuple(row) for row in list(csv.reader(file))[1 : 1 + batch_size]]
        with (folder / "few.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("anchor", "positive"), *rows])
        finetuner.login()
        local.stop_server(timeout_s=30)
        cold_s = _ours(folder, batch_size)
        works = {BARE_NAME: lambda: _bare(folder, batch_size), OURS: lambda: _ours(folder, batch_size)}
        told = told_in_turn(works, 1 if options.is_quick else options.repeat)
    bare, ours = (Measured(name=name, values=values, unit="s") for name, values in told.items())
    return [
        Table(
            title=f"To the end of the first training step, {batch_size} pairs",
            rows=[bare, ours, Measured(name=COLD, values=[cold_s], unit="s")],
            goals=[Goal(what="ours over a bare script", value=over(ours, bare), limit=1)],
        )
    ]


def _bare(folder: Path, batch_size: int) -> float:
    told = {
        "model": str(find_model(MODEL)),
        "data": str(folder / "few.csv"),
        "folder": str(folder / "bare"),
        "batch_size": batch_size,
        "max_seq_length": MAX_SEQ_LENGTH,
    }
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", BARE, json.dumps(told)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "step 1\n":
                return time.perf_counter() - start
    raise RuntimeError(f"the bare script ended with {process.returncode} before its first step")


def _ours(folder: Path, batch_size: int) -> float:
    start = time.time()
    run = finetuner.fit(
        model=MODEL,
        model_options={"max_seq_length": MAX_SEQ_LENGTH},
        train_data=str(folder / "few.csv"),
        loss=LOSS,
        batch_size=batch_size,
        epochs=1,
        device="cpu",
        progress=False,
    )
    run.wait(DEADLINE_S)
    events = local.state_dir() / "v1" / "runs" / run.id / "events.jsonl"
    for line in events.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        if event["kind"] == "progress" and event["phase"] == "training" and event["step"] == 1:
            return float(event["t"]) - start
    raise RuntimeError(f"the events of run {run.name} have no first step")
