"""Runs in every state, with all that a page can show of them, written as the scheduler would."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import update

from finetuner.api.types import Progress, RunStatus
from finetuner.errors import Failure
from finetuner.server import keys
from finetuner.server.store import runs
from finetuner.server.store.tables import RUNS
from tests.server.console.many import HOSTILE
from tests.server.serving import Service

SYNTHESIS = {
    "data": {"query_data": "queries", "corpus_data": "corpus", "num_relations": 10, "num_workers": 4},
    "models": {"relation_miner": ["all-minilm-l6-v2", "sbert"], "cross_encoder": None},
    "public": False,
}


def examples(queries: int, shift: int = 0) -> list[dict[str, Any]]:
    """Give example results as an evaluation tells them, with hostile texts among them."""
    return [
        {
            "query": {"text": f"query {number} {HOSTILE if number == 1 else ''}", "label": f"T{number}"},
            "results": [
                {
                    "text": f"result {place} of {number}{HOSTILE if place == 2 else ''}",
                    "label": f"T{place}",
                    "score": 0.9 - place / 10,
                    "relevant": (number + place + shift) % 3 == 0,
                }
                for place in range(8)
            ],
        }
        for number in range(queries)
    ]


async def started(service: Service, *, name: str, **fields: Any) -> dict[str, Any]:
    """Make a run that has come half-way."""
    run = await service.client.run(name=name, **fields)
    progress = Progress(phase="training", step=60, steps=120, loss=1.25, epoch=1.0, epochs=2, left_s=75.0)
    async with service.database.write() as tx:
        await runs.started(tx, run["id"], "cpu", cpus=2)
        await runs.apply_events(tx, run["id"], from_offset=0, to_offset=1, progress=progress)
    return run


async def failed(service: Service, *, name: str) -> dict[str, Any]:
    """Make a run that failed with a hostile message."""
    run = await started(service, name=name)
    failure = Failure(type="ModelNotFound", message=f"no model {HOSTILE}", hint=f"set {HOSTILE}", traceback=HOSTILE)
    async with service.database.write() as tx:
        await runs.ended(tx, run["id"], status=RunStatus.FAILED, details=f"failed {HOSTILE}", failure=failure)
    return run


async def finished(service: Service, folder: Path, *, name: str, queries: int = 25) -> dict[str, Any]:
    """Make a run that finished, with metrics, examples and an artifact."""
    run = await started(service, name=name)
    path = folder / f"{name}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", "{}")
        archive.writestr(f"odd {HOSTILE}", b"0" * 2048)
    sha256, size = await service.app[keys.BLOBS].adopt(path)
    metrics: Mapping[str, Mapping[str, float]] = {
        "before": {"recall_at_1": 0.31, "precision_at_k": 0.2, "dcg_at_k": 1.5},
        "after": {"recall_at_1": 0.59, "precision_at_k": 0.1, "dcg_at_k": 3.0},
    }
    both: Mapping[str, Sequence[Any]] = {"before": examples(queries), "after": examples(queries, 1)}
    async with service.database.write() as tx:
        await runs.apply_events(tx, run["id"], from_offset=1, to_offset=2, metrics=metrics, examples=both)
        await runs.ended(
            tx, run["id"], status=RunStatus.FINISHED, details="", artifact_sha256=sha256, artifact_size=size
        )
    return run


async def as_synthesis(service: Service, run: Mapping[str, Any]) -> None:
    """Make a run one that made data."""
    async with service.database.write() as tx:
        values = {"task": "generation", "config": json.dumps(SYNTHESIS), "metrics": "{}", "examples": "{}"}
        await tx.run(update(RUNS).where(RUNS.c.id == run["id"]).values(values))


async def with_config(service: Service, run: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Give a run another configuration."""
    async with service.database.write() as tx:
        await tx.run(update(RUNS).where(RUNS.c.id == run["id"]).values(config=json.dumps(config)))


def write_log(service: Service, run: Mapping[str, Any], lines: Sequence[str]) -> Path:
    """Write the log of a run that no process writes."""
    folder = service.settings.runs_dir / str(run["id"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder / "log"


def write_events(service: Service, run: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> None:
    """Write the events of a run that no process writes."""
    folder = service.settings.runs_dir / str(run["id"])
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "events.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)
