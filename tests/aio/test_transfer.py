"""Artifacts: fetched by several at once, and where there is no room; over a real server."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import filelock
import pytest

from finetuner.aio import transfer
from finetuner.aio.client import AsyncClient
from finetuner.aio.run import AsyncRun
from finetuner.errors import StorageFull
from tests.aio.conftest import Submit
from tests.proxy_support import Fault, FaultProxy

pytestmark = pytest.mark.anyio


async def test_fetched_several_times_at_once_it_is_sent_once(
    client: AsyncClient, submit: Submit, tmp_path: Path
) -> None:
    run = await submit(run_name="shared", artifact_bytes=9_000_000)
    await run.wait(60)
    async with FaultProxy(client.host) as proxy, AsyncClient(proxy.url, await client.get_token()) as other:
        proxy.faults = lambda: Fault(cut_after=800_000)
        paths = await asyncio.gather(*(AsyncRun(other, run._raw).save_artifact(tmp_path) for _ in range(4)))
        assert proxy.cuts >= 10
        assert proxy.answered_bytes < 1.1 * Path(paths[0]).stat().st_size
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


SAVE = """
import asyncio, sys
import finetuner
async def main():
    async with finetuner.AsyncClient(sys.argv[1], sys.argv[2]) as client:
        print(await (await client.get_run(sys.argv[3])).save_artifact(sys.argv[4], progress=False))
asyncio.run(main())
"""


async def _save(client: AsyncClient, url: str, run: AsyncRun, folder: Path, head: str = "") -> tuple[int, str, str]:
    """Save an artifact in a process of its own, which begins with `head`; give its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", f"{head}\n{SAVE}", url, await client.get_token(), run.name, str(folder)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_two_processes_that_fetch_into_one_path_both_have_the_file(
    client: AsyncClient, submit: Submit, tmp_path: Path
) -> None:
    run = await submit(run_name="by-two", artifact_bytes=9_000_000)
    await run.wait(60)
    whole = Path(await run.save_artifact(tmp_path / "whole")).read_bytes()
    async with FaultProxy(client.host, lambda: Fault(cut_after=800_000)) as proxy:
        target = tmp_path / "both" / "by-two.zip"
        ended = await asyncio.gather(*(_save(client, proxy.url, run, target.parent) for _ in range(2)))
        assert proxy.answered_bytes < 1.1 * len(whole)
    assert [(code, out) for code, out, _ in ended] == [(0, f"{target}\n")] * 2, ended
    assert target.read_bytes() == whole
    assert list(target.parent.iterdir()) == [target]


LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))"


async def test_a_file_that_may_not_be_so_large_is_told_and_nothing_of_it_is_left(
    client: AsyncClient, submit: Submit, tmp_path: Path
) -> None:
    run = await submit(run_name="limited", artifact_bytes=3_000_000)
    await run.wait(60)
    code, out, error = await _save(client, client.host, run, tmp_path / "out", head=LIMITED)
    assert (code, out) == (1, "")
    assert f"StorageFull: there is no room for {tmp_path / 'out' / 'limited.zip'}: free some space" in error
    assert list((tmp_path / "out").iterdir()) == []
    code, out, error = await _save(client, client.host, run, tmp_path / "out")
    assert code == 0, error
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["limited.zip"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False, timeout=60
    )
    if mounted.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True, timeout=60)


def _enlarge(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True, timeout=60)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may mount a disk")
async def test_a_full_disk_is_told_and_the_next_try_goes_on(
    client: AsyncClient, submit: Submit, small_disk: Path
) -> None:
    run = await submit(run_name="full", artifact_bytes=3_000_000)
    await run.wait(60)
    for _ in range(2):
        with pytest.raises(StorageFull, match=r"full\.zip: free some space, and call again"):
            await run.save_artifact(small_disk)
        assert list(small_disk.iterdir()) == []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(small_disk))
        patch.setattr(tempfile, "tempdir", None)
        with pytest.raises(StorageFull, match="for the prepared data"):
            await client.upload_dataset([(f"{number} {'a text ' * 200}", "an answer") for number in range(2_000)])
        assert list(small_disk.iterdir()) == []
    await asyncio.to_thread(_enlarge, small_disk)
    assert Path(await run.save_artifact(small_disk)).stat().st_size > 3_000_000
    assert [path.name for path in small_disk.iterdir()] == ["full.zip"]
