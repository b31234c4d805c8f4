"""One artifact fetched by several at once, over a real server."""

from __future__ import annotations

import asyncio
import hashlib
import time
from pathlib import Path
from typing import BinaryIO

import filelock
import pytest

from finetuner.aio import transfer
from finetuner.aio.client import AsyncClient
from finetuner.aio.run import AsyncRun
from tests.aio.conftest import Submit
from tests.proxy_support import Fault, FaultProxy

pytestmark = pytest.mark.anyio


async def test_fetched_several_times_at_once_it_is_sent_once(
    client: AsyncClient, submit: Submit, tmp_path: Path
) -> None:
    run = await submit(run_name="shared", artifact_bytes=3_000_000)
    await run.wait(60)
    async with FaultProxy(client.host) as proxy, AsyncClient(proxy.url, await client.get_token()) as other:
        proxy.faults = lambda: Fault(cut_after=900_000)
        paths = await asyncio.gather(*(AsyncRun(other, run._raw).save_artifact(tmp_path) for _ in range(4)))
        assert proxy.answered_bytes < 1.02 * Path(paths[0]).stat().st_size
    assert set(paths) == {str(tmp_path / "shared.zip")}
    assert [path.name for path in tmp_path.iterdir()] == ["shared.zip"]


async def test_what_came_before_a_cut_is_kept_though_the_disk_is_slow(
    client: AsyncClient, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_at = transfer._write_at

    def write_slowly(file: BinaryIO, offset: int, piece: bytes) -> None:
        time.sleep(0.1)
        write_at(file, offset, piece)

    monkeypatch.setattr(transfer, "_write_at", write_slowly)
    run = await submit(run_name="slowly", artifact_bytes=3_000_000)
    await run.wait(60)
    async with FaultProxy(client.host) as proxy, AsyncClient(proxy.url, await client.get_token()) as other:
        proxy.faults = lambda: Fault(cut_after=900_000)
        path = Path(await AsyncRun(other, run._raw).save_artifact(tmp_path))
        assert proxy.cuts >= 3
        assert proxy.answered_bytes < 1.02 * path.stat().st_size


async def test_the_files_of_an_artifact_are_listed_without_fetching_it(client: AsyncClient, submit: Submit) -> None:
    run = await submit(run_name="listed", artifact_bytes=10_000)
    await run.wait(60)
    found = await run.artifact()
    assert (found.id, found.run_name) == (run.artifact_id, "listed")
    assert [(file.path, file.size_bytes) for file in found.files] == [("model.bin", 10_000)]


async def test_one_that_waits_for_another_can_be_cancelled_and_leaves_the_lock(
    client: AsyncClient, submit: Submit, tmp_path: Path
) -> None:
    run = await submit(run_name="waited", artifact_bytes=10_000)
    await run.wait(60)
    path = Path(await run.save_artifact(tmp_path / "first"))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    other = tmp_path / "other"
    other.mkdir()
    lock = filelock.FileLock(other / f".waited.zip.{sha256[:16]}.part.lock")
    with lock:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await run.save_artifact(other)
        fetching = asyncio.create_task(run.save_artifact(other))
        await asyncio.wait([fetching], timeout=0.5)
        assert not fetching.done()
    await fetching
    assert [found.name for found in other.iterdir()] == ["waited.zip"]
    assert (other / "waited.zip").read_bytes() == path.read_bytes()
