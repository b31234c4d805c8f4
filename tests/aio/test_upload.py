"""Uploads that are cut, by the network and by the end of their process: nothing is sent twice; over a real server."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from finetuner.aio import upload as upload_module
from finetuner.aio.client import AsyncClient
from finetuner.errors import ServerUnavailable
from tests.proxy_support import Fault, FaultProxy

pytestmark = pytest.mark.anyio

LOST_BYTES = 384 * 1024
"""What a cut may cost: what was under way, in the buffers of both ends."""
HEAD_BYTES = 16 * 1024
"""Of the requests themselves, of a call that sends no data."""


@asynccontextmanager
async def _through(
    client: AsyncClient, faults: Callable[[], Fault] = Fault
) -> AsyncIterator[tuple[FaultProxy, AsyncClient]]:
    async with FaultProxy(client.host, faults) as proxy, AsyncClient(proxy.url, await client.get_token()) as other:
        yield proxy, other


def _rows(seed: int, rows: int, size_bytes: int = 2_000) -> list[tuple[str, str]]:
    draw = random.Random(seed)  # noqa: S311 - texts of a test
    return [(f"{number} {draw.randbytes(size_bytes // 2).hex()}", "an answer") for number in range(rows)]


async def test_an_upload_goes_on_through_whatever_becomes_of_its_requests(
    client: AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_module, "CHUNK_BYTES", 50_000)
    draw = random.Random(5)  # noqa: S311 - places of a test
    kinds = [Fault(lose_answer=True), Fault(is_bad_gateway=True), Fault(cut_after=300), Fault()]
    content = random.Random(6).randbytes(1_000_000)  # noqa: S311 - bytes of a test
    file = tmp_path / "data"
    file.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    async with _through(client, lambda: draw.choice(kinds)) as (proxy, other):
        for _ in range(2):
            await upload_module.upload(
                other._transport, file, sha256=sha256, size_bytes=len(content), show=False, label="data"
            )
        assert proxy.cuts > 0


@pytest.mark.counted
async def test_an_upload_that_is_cut_anywhere_sends_the_rest_alone(
    client: AsyncClient, scaled: Callable[[int], int]
) -> None:
    draw = random.Random(7)  # noqa: S311 - places of a test
    for number in range(scaled(100)):
        places = iter([draw.randrange(1, 9_000_000) for _ in range(3)])
        async with _through(client, lambda: Fault(cut_after_sent=next(places, None))) as (proxy, other):  # noqa: B023
            made = await other.upload_dataset(_rows(number, 5_000))
            assert proxy.cuts >= 1
            print(f"{made.size_bytes} bytes, {proxy.sent_bytes} sent, {proxy.cuts} cuts")
            assert proxy.sent_bytes < made.size_bytes + proxy.cuts * LOST_BYTES + HEAD_BYTES


async def test_an_upload_that_stalls_goes_on_over_another_connection(client: AsyncClient) -> None:
    faults = iter([Fault(cut_after_sent=3_000_000, stalls=True)])
    async with FaultProxy(client.host, lambda: next(faults, Fault())) as proxy:
        async with AsyncClient(proxy.url, await client.get_token(), timeout_s=8) as other:
            made = await other.upload_dataset(_rows(9, 5_000))
        assert proxy.cuts == 1
        # Of the append that was held the server has written whole megabytes.
        assert proxy.sent_bytes < made.size_bytes + 2**20 + LOST_BYTES + HEAD_BYTES


SCRIPT = """
import asyncio, sys
from pathlib import Path
import finetuner
async def main():
    async with finetuner.AsyncClient(sys.argv[1], sys.argv[2], timeout_s=float(sys.argv[4])) as client:
        made = await client.upload_dataset(Path(sys.argv[3]), progress=False)
    print(made.size_bytes)
    status = Path("/proc/self/status")
    print(next((line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")), 0))
asyncio.run(main())
"""


async def _in_process(client: AsyncClient, url: str, file: Path, timeout_s: float = 60) -> tuple[int, str, str]:
    """Upload a file in a process of its own; give its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SCRIPT, url, await client.get_token(), str(file), str(timeout_s)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(file.parent)},
    )
    async with asyncio.timeout(120):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def _csv(file: Path, seed: int, rows: int, size_bytes: int = 2_000) -> Path:
    with file.open("w") as opened:
        opened.writelines(f"{question},{answer}\n" for question, answer in _rows(seed, rows, size_bytes))
    return file


async def test_another_process_goes_on_with_an_upload(client: AsyncClient, tmp_path: Path) -> None:
    file = _csv(tmp_path / "pairs.csv", 1, 4_000)
    faults = iter([Fault(cut_after_sent=5_000_000)])
    async with _through(client, lambda: next(faults, Fault(is_bad_gateway=True))) as (proxy, _):
        code, _, error = await _in_process(client, proxy.url, file, timeout_s=1)
        assert (code, ServerUnavailable.__name__ in error) == (1, True)
        assert proxy.sent_bytes >= 5_000_000
    async with _through(client) as (proxy, _):
        code, out, error = await _in_process(client, proxy.url, file)
        assert code == 0, error
        assert proxy.sent_bytes < int(out.split()[0]) - 5_000_000 + LOST_BYTES + HEAD_BYTES


async def test_several_who_upload_the_same_at_once_all_have_it(client: AsyncClient) -> None:
    rows = _rows(3, 5_000)
    async with _through(client) as (_, one), _through(client) as (_, two):
        async with asyncio.timeout(120):
            made = await asyncio.gather(*(each.upload_dataset(rows, "at-once") for each in (client, one, two)))
    assert made[0] == made[1] == made[2] == await client.get_dataset("at-once")


async def test_a_second_fit_with_the_same_data_sends_none_of_it(client: AsyncClient) -> None:
    rows = [(json.dumps({"lines": 1}), "x"), *_rows(2, 1_000)]
    async with _through(client) as (proxy, other):
        for number in range(2):
            before = proxy.sent_bytes
            run = await other.fit(
                "all-minilm-l6-v2", rows, loss="MultipleNegativesRankingLoss", epochs=1, progress=False
            )
            sent = proxy.sent_bytes - before
            assert sent > 2_000_000 if number == 0 else sent < HEAD_BYTES
            await run.wait(60)


@pytest.mark.counted
async def test_memory_does_not_grow_with_the_file(
    client: AsyncClient, tmp_path: Path, scaled: Callable[[int], int]
) -> None:
    """64 MB by default, 200 MB in full."""
    size_mb = max(64, scaled(200))
    peaks = []
    for number, rows in enumerate((10, size_mb * 50)):
        file = _csv(tmp_path / f"{number}.csv", number + 10, rows, 20_000)
        code, out, error = await _in_process(client, client.host, file)
        assert code == 0, error
        peaks.append(int(out.split()[1]) / 1000)
        file.unlink()
    if not all(peaks):
        pytest.skip("this system does not tell the peak of a process's memory")
    print(f"peak with 200 kB: {peaks[0]:.0f} MB, with {size_mb} MB: {peaks[1]:.0f} MB")
    assert peaks[1] - peaks[0] < size_mb / 2
