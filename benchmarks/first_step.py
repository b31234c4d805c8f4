"""From `fit()` to the first training step: a run on a server that is up, beside a bare script from its start.

The run is given to a worker that waits ready, or gets one of its own, as one that brings secrets does. Each turn begins
once a worker waits ready, so that none is measured while the libraries of another are loaded.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

import finetuner
from benchmarks.measure import Goal, Measured, Options, Table, over, told_in_turn
from benchmarks.synthesis import DEADLINE_S, own_server
from finetuner import local
from finetuner.cli.demo_data import write_demo_data
from finetuner.cli.demo_scripts import BATCH_SIZE, LOSS, MAX_SEQ_LENGTH, MODEL
from finetuner.model import find_model

BARE_NAME, OURS, COLD, FIRST = (
    "a bare script, from its start",
    "ours, from fit(), a worker waits ready",
    "ours, from fit(), none waits for it",
    "ours, the server's start with it, once",
)
MEMORY = "memory of the worker that waits, and its supervisor"
READY = "a worker waits ready for the next run"
OWN_WORKER = {"BENCHMARK": "first_step"}
"""A secret: a run with any is given to no worker that waits."""
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
    with tempfile.TemporaryDirectory(prefix="finetuner-first-step-") as name, own_server(Path(name), warm_workers=1):
        folder = Path(name)
        write_demo_data(folder, steps=1)
        with (folder / "train.csv").open(newline="", encoding="utf-8") as file:
            rows = [tuple(row) for row in list(csv.reader(file))[1 : 1 + batch_size]]
        with (folder / "few.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("anchor", "positive"), *rows])
        finetuner.login()
        local.stop_server(timeout_s=30)
        first_s = _ours(folder, batch_size)
        memory_mb = [_waiting_mb(1)]

        def ours(secrets: dict[str, str] | None) -> float:
            measured_s = _ours(folder, batch_size, secrets)
            memory_mb.append(_waiting_mb(len(memory_mb) + 1))
            return measured_s

        works = {
            BARE_NAME: lambda: _bare(folder, batch_size),
            OURS: lambda: ours(None),
            COLD: lambda: ours(OWN_WORKER),
        }
        told = told_in_turn(works, 1 if options.is_quick else options.repeat)
    bare, warm, cold = (Measured(name=name, values=values, unit="s") for name, values in told.items())
    return [
        Table(
            title=f"To the end of the first training step, {batch_size} pairs",
            rows=[
                bare,
                warm,
                cold,
                Measured(name=FIRST, values=[first_s], unit="s"),
                Measured(name=MEMORY, values=memory_mb, unit="MB"),
            ],
            goals=[Goal(what="ours, a worker waiting, over a bare script", value=over(warm, bare), limit=1)],
        )
    ]


def _waiting_mb(count: int) -> float:
    """Wait until a worker has come to wait for the `count`th time; give the resident memory of its two processes."""
    deadline = time.monotonic() + DEADLINE_S
    while len(found := _ready_pids()) < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(found)} workers came to wait ready, not {count}: see the server's log")
        time.sleep(0.05)
    worker = psutil.Process(found[-1])
    supervisor = worker.parent()
    assert supervisor is not None
    return float(worker.memory_info().rss + supervisor.memory_info().rss) / 1e6


def _ready_pids() -> list[int]:
    """Give the workers that came to wait, in order, as the server's log tells them."""
    lines = (local.state_dir() / "v1" / "server.log").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines if line.startswith("{")]
    return [event["pid"] for event in events if event["event"] == READY]


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


def _ours(folder: Path, batch_size: int, secrets: dict[str, str] | None = None) -> float:
    start = time.time()
    run = finetuner.fit(
        model=MODEL,
        model_options={"max_seq_length": MAX_SEQ_LENGTH},
        train_data=str(folder / "few.csv"),
        loss=LOSS,
        batch_size=batch_size,
        epochs=1,
        device="cpu",
        secrets=secrets,
        progress=False,
    )
    run.wait(DEADLINE_S)
    events = local.state_dir() / "v1" / "runs" / run.id / "events.jsonl"
    for line in events.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        if event["kind"] == "progress" and event["phase"] == "training" and event["step"] == 1:
            return float(event["t"]) - start
    raise RuntimeError(f"the events of run {run.name} have no first step")
