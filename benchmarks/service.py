"""This project's server in a process of its own, over a database that was filled beforehand."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import zipfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
from sqlalchemy import insert, update

from benchmarks.contestant import Contestant, contestant
from finetuner.server import keys
from finetuner.server.store.tables import BLOBS, RUNS
from tests.server.console.many import insert_runs
from tests.server.serving import Service, make_settings, serving, starting_nothing

Fill = Callable[[Service], Coroutine[Any, Any, object]]


@attrs.frozen(kw_only=True)
class Server:
    """A server that runs in a process of its own.

    Attributes:
        url: Where it listens.
        token: What it takes.
        process: Its process; a turn tells its memory.
    """

    url: str
    token: str
    process: Contestant

    @property
    def environ(self) -> Mapping[str, str]:
        """What leads this project's client to it."""
        return {"FINETUNER_HOST": self.url, "FINETUNER_TOKEN": self.token}

    def held_mb(self) -> float:
        """Give the megabytes of memory that it holds now."""
        return float(self.process.go()["held_bytes"]) / 1e6


@contextlib.contextmanager
def our_server(folder: Path, fill: Fill, *, profiles: Path | None = None) -> Iterator[Server]:
    """Start a server in a folder, filled first; its runs all stay as they are."""
    asyncio.run(_filled(folder, fill))
    with contestant("our_server", folder, profiles=profiles) as process:
        yield Server(url=process.ready["url"], token=process.ready["token"], process=process)


async def _filled(folder: Path, fill: Fill) -> None:
    async with _serving(folder) as service:
        await fill(service)


@contextlib.asynccontextmanager
async def _serving(folder: Path) -> AsyncIterator[Service]:
    async with serving(starting_nothing(make_settings(folder))) as service:
        yield service


def runs(count: int, *, status: str | None = None) -> Fill:
    """Make what fills a database with so many runs: ended ones, or all with one status."""

    async def fill(service: Service) -> None:
        await insert_runs(service.database, count)
        if status is not None:
            async with service.database.write() as tx:
                await tx.run(update(RUNS).values(status=status, started_at=None, finished_at=None, details=""))

    return fill


def run_with_log(lines: int) -> Fill:
    """Make what fills a database with one ended run, whose log has so many lines."""

    async def fill(service: Service) -> None:
        (row,) = await insert_runs(service.database, 1)
        folder = service.settings.runs_dir / row["id"]
        folder.mkdir(parents=True)
        with (folder / "log").open("w", encoding="utf-8") as log:
            log.writelines(f"2026-01-01 10:00:00 INFO epoch 1 step {n} loss {n % 97 / 97:.6f}\n" for n in range(lines))

    return fill


def run_with_artifact(size_bytes: int) -> Fill:
    """Make what fills a database with one finished run, whose artifact has a member of so many bytes."""

    async def fill(service: Service) -> None:
        (row,) = await insert_runs(service.database, 1)
        part = service.settings.root / "artifact.zip"
        _write_zip(part, size_bytes)
        with part.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size = part.stat().st_size
        path = service.app[keys.BLOBS].path(sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        part.replace(path)
        async with service.database.write() as tx:
            await tx.run(insert(BLOBS), {"sha256": sha256, "size_bytes": size, "keep_until": row["created_at"]})
            values = {"artifact_sha256": sha256, "artifact_size": size, "status": "FINISHED"}
            await tx.run(update(RUNS).where(RUNS.c.id == row["id"]).values(values))

    return fill


def _write_zip(path: Path, size_bytes: int) -> None:
    piece = hashlib.shake_256(b"weights").digest(2**20)
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive,
        archive.open("weights", "w", force_zip64=True) as file,
    ):
        for _ in range(size_bytes // len(piece)):
            file.write(piece)
        file.write(piece[: size_bytes % len(piece)])
