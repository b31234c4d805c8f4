"""Small models and run directories for tests, made on the spot: nothing is downloaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from finetuner.data import CSVOptions, prepare

ROOT = Path(__file__).parents[1]
TOPICS = {
    "animal": "dog cat horse bird fish",
    "weather": "rain snow wind sun cloud",
    "food": "bread soup apple cheese rice",
    "music": "song drum violin choir opera",
}
FILLERS = "the a we saw some big small old new very near today often with and".split()


def make_tiny_model(folder: Path, *, dim: int = 32, seed: int = 0) -> Path:
    """Save a random BERT of two small layers, with a WordPiece vocabulary of the words above."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizer

    words = [*FILLERS, *(word for topic in TOPICS.values() for word in topic.split()), *TOPICS]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=dim,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * dim,
        max_position_embeddings=64,
    )
    with tempfile.TemporaryDirectory() as temporary:
        BertModel(config).save_pretrained(temporary)
        Path(temporary, "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
        tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(vocabulary)})
        tokenizer.save_pretrained(temporary)
        transformer = Transformer(temporary, max_seq_length=16)
        model = SentenceTransformer(modules=[transformer, Pooling(dim)], device="cpu")
        model.save_pretrained(str(folder), create_model_card=False)
    return folder


def make_tiny_cross_encoder(folder: Path, *, labels: int = 1, seed: int = 0) -> Path:
    """Save a random cross encoder of two small layers, with the vocabulary of the tiny model."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    words = [*FILLERS, *(word for topic in TOPICS.values() for word in topic.split()), *TOPICS]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        num_labels=labels,
        initializer_range=0.5,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(vocabulary)}, model_max_length=64)
    tokenizer.save_pretrained(folder)
    return folder


def labelled_rows(count: int = 96, seed: int = 0) -> list[tuple[str, str]]:
    """Give sentences about a topic, each with its topic as label."""
    import random

    draw = random.Random(seed)  # noqa: S311 - reproducible
    rows = []
    for number in range(count):
        topic = list(TOPICS)[number % len(TOPICS)]
        words = [draw.choice(TOPICS[topic].split()), *draw.choices(FILLERS, k=4)]
        draw.shuffle(words)
        rows.append((" ".join(words), topic))
    return rows


def write_synthesis_spec(
    run_dir: Path,
    queries: Sequence[Any],
    corpus: Sequence[Any],
    *,
    miners: Sequence[Path | str],
    cross_encoder: Path | str | None = None,
    num_relations: int = 3,
    artifacts: Mapping[str, Path] | None = None,
) -> Path:
    """Write a run directory's `spec.json` for a synthesis."""
    run_dir.mkdir(parents=True, exist_ok=True)
    data = {
        name: prepare(rows, directory=run_dir, name=name).path
        for name, rows in (("queries", queries), ("corpus", corpus))
    }
    spec = {
        "schema": 1,
        "run_id": "0123456789abcdef01234567",
        "run_name": "made",
        "experiment_name": "default",
        "task": "generation",
        "config": {
            "data": {"query_data": "queries", "corpus_data": "corpus", "num_relations": num_relations},
            "models": {
                "relation_miner": [str(miner) for miner in miners],
                "cross_encoder": None if cross_encoder is None else str(cross_encoder),
            },
        },
        "data": {name: str(path) for name, path in {**data, **(artifacts or {})}.items()},
        "model_path": None,
        "device": "cpu",
    }
    (run_dir / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    return run_dir


@attrs.frozen(kw_only=True)
class WorkerRun:
    """What a worker left."""

    returncode: int
    log: str
    events: list[dict[str, Any]]
    run_dir: Path

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["kind"] == kind]

    def metrics(self, stage: str) -> dict[str, float]:
        merged: dict[str, float] = {}
        for event in self.of("metrics"):
            if event["stage"] == stage:
                merged |= event["values"]
        return merged


def write_spec(
    run_dir: Path,
    model: Path | str,
    data: Mapping[str, Sequence[Any] | Path],
    *,
    callbacks: Sequence[Mapping[str, Any]] = (),
    model_options: Mapping[str, Any] | None = None,
    labelled: bool = True,
    device: str = "cpu",
    **hyper_parameters: Any,
) -> Path:
    """Write a run directory's `spec.json`; the data set `train` is trained on."""
    run_dir.mkdir(parents=True, exist_ok=True)
    options = CSVOptions(is_labeled=labelled)
    paths = {
        name: rows if isinstance(rows, Path) else prepare(rows, options, directory=run_dir, name=name).path
        for name, rows in data.items()
    }
    spec = {
        "schema": 1,
        "run_id": "0123456789abcdef01234567",
        "run_name": "tiny",
        "experiment_name": "default",
        "task": "training",
        "config": {
            "model": {"name": str(model), "options": dict(model_options or {})},
            "data": {"train_data": "train"},
            "callbacks": [dict(callback) for callback in callbacks],
            "hyper_parameters": {"batch_size": 16, "epochs": 2, "learning_rate": 1e-3} | hyper_parameters,
        },
        "data": {name: str(path) for name, path in paths.items()},
        "model_path": None,
        "device": device,
    }
    (run_dir / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    return run_dir


def run_worker(run_dir: Path, **environment: str) -> WorkerRun:
    """Run the worker as the supervisor does, with a pipe for its events and one as its lifeline."""
    events_read, events_write = os.pipe()
    lifeline_read, lifeline_write = os.pipe()
    env = {
        **os.environ,
        "FINETUNER_RUN_DIR": str(run_dir),
        "FINETUNER_EVENTS_FD": str(events_write),
        "FINETUNER_LIFELINE_FD": str(lifeline_read),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        **environment,
    }
    with (run_dir / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "finetuner.job.worker", str(run_dir)],
            pass_fds=(events_write, lifeline_read),
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    os.close(events_write)
    os.close(lifeline_read)
    with os.fdopen(events_read, "rb") as stream:
        events = [json.loads(line) for line in stream]
    returncode = process.wait()
    os.close(lifeline_write)
    return WorkerRun(
        returncode=returncode,
        log=(run_dir / "log").read_text(encoding="utf-8"),
        events=events,
        run_dir=run_dir,
    )
