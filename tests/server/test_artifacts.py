from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from finetuner.api.types import RunStatus
from finetuner.errors import Failure
from finetuner.server import keys
from finetuner.server.store import runs
from tests.server.serving import Client, Service, run_body

pytestmark = pytest.mark.anyio


def a_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model.safetensors", b"\0" * 5000)
        archive.writestr("manifest.json", b"{}")
    return buffer.getvalue()


CONTENT = a_zip()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
async def finished(client: Client, quiet: Service, tmp_path: Path) -> dict[str, Any]:
    """A run that finished and left an artifact."""
    return await finish(client, quiet, tmp_path, CONTENT)


async def finish(client: Client, quiet: Service, folder: Path, content: bytes) -> dict[str, Any]:
    made = await client.run(name="tuned")
    file = folder / "artifact.zip"
    file.write_bytes(content)
    sha256, size = await quiet.app[keys.BLOBS].adopt(file)
    async with quiet.database.write() as tx:
        assert await runs.started(tx, made["id"], "cpu")
        assert await runs.ended(
            tx,
            made["id"],
            status=RunStatus.FINISHED,
            details="",
            artifact_sha256=sha256,
            artifact_size=size,
        )
    return made


async def test_an_artifact_that_is_no_zip_has_no_files(client: Client, quiet: Service, tmp_path: Path) -> None:
    made = await finish(client, quiet, tmp_path, b"not a zip")
    answer = await client.call("artifact_get", id=made["artifact_id"])
    assert (answer.status, answer.json["files"], answer.json["size_bytes"]) == (200, [], 9)


async def test_a_zip_of_a_strange_kind_has_no_files_either(client: Client, quiet: Service, tmp_path: Path) -> None:
    strange = bytearray(CONTENT)
    with zipfile.ZipFile(io.BytesIO(CONTENT)) as archive:
        strange[archive.start_dir + 6] = 255  # the version that is needed to unpack it
    made = await finish(client, quiet, tmp_path, bytes(strange))
    answer = await client.call("artifact_get", id=made["artifact_id"])
    assert (answer.status, answer.json["files"], answer.json["size_bytes"]) == (200, [], len(CONTENT))


async def test_an_artifact_says_what_it_is(client: Client, finished: dict[str, Any]) -> None:
    answer = await client.call("artifact_get", id=finished["artifact_id"])
    assert answer.json == {
        "id": finished["artifact_id"],
        "run_id": finished["id"],
        "run_name": "tuned",
        "task": "training",
        "size_bytes": len(CONTENT),
        "sha256": SHA256,
        "files": [{"path": "model.safetensors", "size_bytes": 5000}, {"path": "manifest.json", "size_bytes": 2}],
    }


async def test_its_bytes_are_given_whole_and_by_ranges(client: Client, finished: dict[str, Any]) -> None:
    path = f"/api/v1/artifacts/{finished['artifact_id']}/content"
    whole = await client.ask("GET", path)
    assert (whole.status, whole.body, whole.headers["ETag"]) == (200, CONTENT, f'"{SHA256}"')
    assert whole.headers["Content-Type"] == "application/zip"
    rest = await client.ask("GET", path, headers={"Range": "bytes=100-"})
    assert (rest.status, rest.body) == (206, CONTENT[100:])
    assert rest.headers["Content-Range"] == f"bytes 100-{len(CONTENT) - 1}/{len(CONTENT)}"
    assert rest.headers["ETag"] == f'"{SHA256}"'
    beyond = await client.ask("GET", path, headers={"Range": f"bytes={len(CONTENT) + 1}-"})
    assert beyond.status == 416


async def test_a_resume_under_another_etag_gives_the_whole(client: Client, finished: dict[str, Any]) -> None:
    path = f"/api/v1/artifacts/{finished['artifact_id']}/content"
    same = await client.ask("GET", path, headers={"Range": "bytes=100-", "If-Range": f'"{SHA256}"'})
    assert (same.status, same.body) == (206, CONTENT[100:])
    other = await client.ask("GET", path, headers={"Range": "bytes=100-", "If-Range": '"another"'})
    assert (other.status, other.body) == (200, CONTENT)


async def test_until_the_run_has_finished_there_is_none(client: Client, quiet: Service) -> None:
    made = await client.run()
    for name in ("artifact_get", "artifact_content"):
        answer = await client.call(name, id=made["artifact_id"])
        assert (answer.status, answer.json["code"]) == (409, "run_in_progress")
    async with quiet.database.write() as tx:
        await runs.ended(
            tx,
            made["id"],
            status=RunStatus.FAILED,
            details="no memory left",
            failure=Failure(type="MemoryError", message="no memory left", last_lines=("a", "b")),
        )
    answer = await client.call("artifact_get", id=made["artifact_id"])
    assert (answer.status, answer.json["code"], answer.json["run_name"]) == (409, "run_failed", made["name"])
    assert answer.json["failure"]["type"] == "MemoryError"
    assert answer.json["failure"]["last_lines"] == ["a", "b"]


@pytest.mark.parametrize("artifact_id", ["f" * 24, "nonsense", "..", "%00"])
async def test_an_unknown_artifact_is_not_found(client: Client, artifact_id: str) -> None:
    answer = await client.ask("GET", f"/api/v1/artifacts/{artifact_id}")
    assert answer.status == 404


async def test_a_public_artifact_is_read_by_every_user_but_its_run_is_not(
    client: Client, quiet: Service, finished: dict[str, Any], tmp_path: Path
) -> None:
    stranger = await quiet.other()
    assert (await stranger.call("artifact_content", id=finished["artifact_id"])).status == 404
    made = await client.run(config=run_body(public=True)["config"])
    async with quiet.database.write() as tx:
        await runs.started(tx, made["id"], "cpu")
        await runs.ended(
            tx,
            made["id"],
            status=RunStatus.FINISHED,
            details="",
            artifact_sha256=SHA256,
            artifact_size=len(CONTENT),
        )
    shown = await stranger.call("artifact_content", id=made["artifact_id"])
    assert (shown.status, shown.body) == (200, CONTENT)
    assert (await stranger.call("run_get", id=made["id"])).status == 404


async def test_a_run_can_go_on_from_an_artifact(client: Client, finished: dict[str, Any]) -> None:
    answer = await client.submit(run_body(model={"artifact": finished["artifact_id"]}))
    assert answer.status == 201
    assert answer.json["config"]["model"]["artifact"] == finished["artifact_id"]
