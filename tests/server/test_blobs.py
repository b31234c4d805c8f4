from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import text

from finetuner.server.store import blob_files, users
from finetuner.server.store.blobs import Blobs, OffsetMismatch
from finetuner.server.store.database import Database
from tests.server.serving import Answer, Client, Service, pairs

pytestmark = pytest.mark.anyio
CONTENT = os.urandom(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def path_of(sha256: str = SHA256) -> str:
    return f"/api/v1/blobs/sha256-{sha256}"


async def patch(
    client: Client, data: Any, offset: int, *, total: int | None = len(CONTENT), sha256: str = SHA256
) -> Answer:
    headers = {"Upload-Offset": str(offset)}
    if total is not None:
        headers["Upload-Length"] = str(total)
    return await client.ask("PATCH", path_of(sha256), data=data, headers=headers)


def stands(answer: Answer) -> tuple[int, int, str]:
    return int(answer.headers["Upload-Offset"]), int(answer.headers["Upload-Length"]), answer.headers["Upload-Complete"]


async def test_a_blob_is_appended_to_until_it_is_complete(quiet: Service) -> None:
    client = quiet.client
    assert (await client.ask("HEAD", path_of())).status == 404
    first = await patch(client, CONTENT[:100_000], 0)
    assert (first.status, stands(first)) == (204, (100_000, len(CONTENT), "?0"))
    assert stands(await client.ask("HEAD", path_of())) == (100_000, len(CONTENT), "?0")
    rest = await patch(client, CONTENT[100_000:], 100_000, total=None)
    assert (rest.status, stands(rest)) == (204, (len(CONTENT), len(CONTENT), "?1"))
    assert stands(await client.ask("HEAD", path_of())) == (len(CONTENT), len(CONTENT), "?1")
    assert files(quiet) == [f"{SHA256[:2]}/{SHA256}"]


def files(service: Service) -> list[str]:
    root = service.settings.blobs_dir
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


async def test_an_offset_that_does_not_fit_is_answered_with_the_right_one(quiet: Service) -> None:
    client = quiet.client
    beyond = await patch(client, b"x", 7)
    assert (beyond.status, beyond.headers["Upload-Offset"]) == (409, "0")
    await patch(client, CONTENT[:10], 0)
    again = await patch(client, CONTENT[:10], 0)
    assert (again.status, again.headers["Upload-Offset"]) == (409, "10")
    await patch(client, CONTENT[10:], 10)
    after = await patch(client, CONTENT, 0)
    assert (after.status, stands(after)) == (409, (len(CONTENT), len(CONTENT), "?1"))


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        ({}, "$.Upload-Offset"),
        ({"Upload-Offset": "-1"}, "$.Upload-Offset"),
        ({"Upload-Offset": "0", "Upload-Length": "ten"}, "$.Upload-Length"),
    ],
)
async def test_bad_headers_are_refused(quiet: Service, headers: dict[str, str], path: str) -> None:
    answer = await quiet.client.ask("PATCH", path_of(), data=b"x", headers=headers)
    assert (answer.status, answer.json["errors"][0]["path"]) == (422, path)


async def test_an_upload_needs_its_length_and_keeps_to_it(quiet: Service) -> None:
    client = quiet.client
    assert (await patch(client, b"x", 0, total=None)).status == 422
    assert (await patch(client, CONTENT, 0, total=10)).status == 422
    assert (await patch(client, CONTENT[:10], 0)).status == 204
    assert (await patch(client, CONTENT[10:20], 10, total=20)).status == 422
    for name in ("sha256-", "sha256-" + "A" * 64, "md5-" + "0" * 32, "..", "RUN.log"):
        answer = await client.ask("HEAD", f"/api/v1/blobs/{name}")
        assert answer.status in {404, 405, 422}


async def test_a_blob_with_another_sha256_is_thrown_away(quiet: Service) -> None:
    client = quiet.client
    answer = await patch(client, CONTENT[::-1], 0)
    assert answer.status == 422
    assert SHA256 in answer.json["detail"]
    assert files(quiet) == []
    assert (await client.ask("HEAD", path_of())).status == 404
    assert (await patch(client, CONTENT, 0)).status == 204


async def test_the_empty_blob_is_a_blob(quiet: Service) -> None:
    empty = hashlib.sha256(b"").hexdigest()
    answer = await patch(quiet.client, b"", 0, total=0, sha256=empty)
    assert (answer.status, stands(answer)) == (204, (0, 0, "?1"))


async def test_nobody_learns_what_others_have(quiet: Service) -> None:
    await quiet.client.upload(CONTENT)
    stranger = await quiet.other()
    assert (await stranger.ask("HEAD", path_of())).status == 404
    body = {"sha256": SHA256, "kind": "pairs", "columns": ["anchor", "positive"], "rows": 2}
    assert (await stranger.ask("PUT", "/api/v1/datasets/theirs", json_body=body)).status == 404
    assert (await patch(stranger, CONTENT[:5], 0)).status == 204
    assert (await quiet.client.ask("HEAD", path_of())).headers["Upload-Complete"] == "?1"
    assert (await patch(stranger, CONTENT[5:], 5)).status == 204
    assert files(quiet) == [f"{SHA256[:2]}/{SHA256}"]


@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, len(CONTENT) - 1), max_size=4), salt=st.binary(min_size=8, max_size=8))
async def test_an_upload_that_is_cut_anywhere_goes_on_where_it_broke(
    quiet: Service, cuts: list[int], salt: bytes
) -> None:
    content = salt + CONTENT
    sha256 = hashlib.sha256(content).hexdigest()
    for cut in [*cuts, None]:
        head = await quiet.client.ask("HEAD", path_of(sha256))
        offset = 0 if head.status == 404 else int(head.headers["Upload-Offset"])
        if cut is None:
            await patch(quiet.client, content[offset:], offset, total=len(content), sha256=sha256)
        elif cut > offset:
            await break_off(quiet, content, offset, cut, sha256)
    assert stands(await quiet.client.ask("HEAD", path_of(sha256))) == (len(content), len(content), "?1")
    assert (quiet.settings.blobs_dir / sha256[:2] / sha256).read_bytes() == content


async def break_off(service: Service, content: bytes, offset: int, cut: int, sha256: str) -> None:
    """Send a part of a body over a raw connection, and cut that."""
    host, _, port = service.url.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    lines = [
        f"PATCH {path_of(sha256)} HTTP/1.1",
        f"Host: {host}",
        f"Authorization: Bearer {service.client.token}",
        f"Upload-Offset: {offset}",
        f"Upload-Length: {len(content)}",
        f"Content-Length: {len(content) - offset}",
    ]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + content[offset:cut])
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def test_two_uploaders_at_once_end_with_one_whole_blob(quiet: Service) -> None:
    async def upload() -> None:
        while True:
            head = await quiet.client.ask("HEAD", path_of())
            if head.status == 200 and head.headers["Upload-Complete"] == "?1":
                return
            offset = int(head.headers.get("Upload-Offset", 0))
            answer = await patch(quiet.client, slowly(CONTENT[offset:]), offset)
            assert answer.status in {204, 409}, answer

    await asyncio.gather(upload(), upload(), upload())
    assert files(quiet) == [f"{SHA256[:2]}/{SHA256}"]


async def slowly(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 50_000):
        yield content[start : start + 50_000]
        await asyncio.sleep(0)


async def test_a_stalled_upload_is_taken_over(database: Database, tmp_path: Path, quiet: Service) -> None:
    blobs = Blobs(tmp_path / "blobs", database, stall_s=0.01)
    owner_id = await an_owner(database)
    first_chunk_read = asyncio.Event()
    never = asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        yield CONTENT[:10]
        first_chunk_read.set()
        await never.wait()

    async def all_of_it() -> AsyncIterator[bytes]:
        yield CONTENT

    stalled = asyncio.create_task(blobs.append(owner_id, SHA256, offset=0, length=len(CONTENT), chunks=stalling()))
    await first_chunk_read.wait()
    upload = await blobs.append(owner_id, SHA256, offset=0, length=len(CONTENT), chunks=all_of_it())
    assert upload.complete
    never.set()
    with pytest.raises(Exception, match=r"goes on from byte|cancelled"):
        await stalled
    assert blobs.path(SHA256).read_bytes() == CONTENT


async def test_an_upload_that_goes_on_is_not_taken_over(database: Database, tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs", database, stall_s=600)
    owner_id = await an_owner(database)
    begun, both = asyncio.Event(), asyncio.Event()

    async def in_two_parts() -> AsyncIterator[bytes]:
        yield CONTENT[:10]
        begun.set()
        await both.wait()
        yield CONTENT[10:]

    async def append() -> bool:
        upload = await blobs.append(owner_id, SHA256, offset=0, length=len(CONTENT), chunks=in_two_parts())
        return upload.complete

    first = asyncio.create_task(append())
    await begun.wait()
    second = asyncio.create_task(append())
    for _ in range(50):
        await blobs.head(owner_id, SHA256)
    both.set()
    assert await first
    with pytest.raises(OffsetMismatch) as caught:
        await second
    assert caught.value.upload.complete


async def an_owner(database: Database) -> int:
    async with database.write() as tx:
        return (await users.create(tx, "somebody")).id


async def test_a_full_disk_is_said_and_leaves_nothing(quiet: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    room = 1000

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        if offset >= room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[: room - offset], offset)

    real = os.pwrite
    monkeypatch.setattr("finetuner.server.store.blob_files.os.pwrite", pwrite)
    answer = await patch(quiet.client, CONTENT, 0)
    assert (answer.status, answer.json["code"]) == (507, "storage_full")
    assert files(quiet) == []
    assert (await quiet.client.ask("HEAD", path_of())).status == 404
    monkeypatch.undo()
    assert (await patch(quiet.client, CONTENT, 0)).status == 204


async def test_what_nothing_refers_to_is_removed(database: Database, tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs", database, keep_s=-1)
    owner_id = await an_owner(database)

    async def chunks() -> AsyncIterator[bytes]:
        yield CONTENT

    await blobs.append(owner_id, SHA256, offset=0, length=len(CONTENT), chunks=chunks())
    assert await blobs.collect() == 1
    assert not blobs.path(SHA256).exists()
    assert await blobs.head(owner_id, SHA256) is None
    await blobs.append(owner_id, SHA256, offset=0, length=len(CONTENT) + 1, chunks=chunks())
    assert await blobs.collect() == 1
    assert await blobs.head(owner_id, SHA256) is None


async def test_an_upload_that_somebody_goes_on_with_stays(database: Database, tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs", database)
    owner_id = await an_owner(database)

    async def chunks() -> AsyncIterator[bytes]:
        yield CONTENT[:1000]

    await blobs.append(owner_id, SHA256, offset=0, length=len(CONTENT), chunks=chunks())
    async with database.write() as tx:
        await tx.run(text("UPDATE uploads SET created_at = '2001-01-01T00:00:00+00:00'"))
    assert await blobs.collect() == 0
    (part,) = (tmp_path / "blobs/uploads").iterdir()
    os.utime(part, (10**9, 10**9))
    assert await blobs.collect() == 1
    assert await blobs.head(owner_id, SHA256) is None


async def test_what_a_data_set_or_a_waiting_run_needs_stays(client: Client, quiet: Service) -> None:
    sha256 = hashlib.sha256(pairs()).hexdigest()
    kept = quiet.settings.blobs_dir / sha256[:2] / sha256
    blobs = Blobs(quiet.settings.blobs_dir, quiet.database, keep_s=-1)
    made = await client.run()
    assert await blobs.collect() == 0
    await client.call("dataset_delete", name="pairs")
    assert await blobs.collect() == 0
    assert kept.exists()
    assert (await client.call("run_delete", id=made["id"])).status == 200
    async with asyncio.timeout(20):
        while kept.exists():
            await blobs.collect()
            await asyncio.sleep(0.01)


async def test_adopting_a_file_twice_is_harmless(database: Database, tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs", database)
    left = tmp_path / "artifact.zip"
    left.write_bytes(CONTENT)
    assert await blobs.adopt(left) == await blobs.adopt(left) == (SHA256, len(CONTENT))
    assert blobs.path(SHA256).read_bytes() == left.read_bytes() == CONTENT


def test_appending_elsewhere_than_at_the_end_is_refused(tmp_path: Path) -> None:
    blob_files.append(tmp_path / "part", 0, b"abc")
    with pytest.raises(OSError, match="does not end at byte 2"):
        blob_files.append(tmp_path / "part", 2, b"x")
    assert (tmp_path / "part").read_bytes() == b"abc"
