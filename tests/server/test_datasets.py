from __future__ import annotations

import json
from typing import Any

import pytest

from tests.server.serving import Client, Service, pairs

pytestmark = pytest.mark.anyio


def body(sha256: str, **fields: Any) -> dict[str, Any]:
    return {"sha256": sha256, "kind": "pairs", "columns": ["anchor", "positive"], "rows": 2, **fields}


async def put(client: Client, name: str, fields: dict[str, Any]) -> Any:
    return await client.ask("PUT", f"/api/v1/datasets/{name}", json_body=fields)


async def test_a_data_set_is_named_given_listed_and_forgotten(quiet: Service) -> None:
    client = quiet.client
    sha256 = await client.upload(pairs())
    made = await put(client, "mine", body(sha256))
    assert made.status == 200
    assert {**made.json, "created_at": None} == {
        **body(sha256),
        "name": "mine",
        "size_bytes": len(pairs()),
        "created_at": None,
    }
    assert (await put(client, "mine", body(sha256))).json == made.json
    assert (await client.call("dataset_get", name="mine")).json == made.json
    assert (await client.call("datasets_list")).json == {"items": [made.json]}
    assert (await client.call("dataset_delete", name="mine")).json == {"deleted": 1}
    assert (await client.call("dataset_delete", name="mine")).status == 404


async def test_a_name_with_other_content_is_refused(client: Client) -> None:
    sha256 = await client.upload(pairs(3))
    answer = await put(client, "pairs", body(sha256, rows=3))
    assert (answer.status, answer.json["code"]) == (409, "conflict")


async def test_a_blob_that_is_not_there_is_refused(client: Client) -> None:
    answer = await put(client, "mine", body("0" * 64))
    assert (answer.status, answer.json["code"]) == (404, "data_not_found")


async def test_what_the_file_says_of_itself_must_agree(client: Client) -> None:
    sha256 = await client.upload(pairs())
    wrong = await put(client, "mine", body(sha256, kind="labelled", columns=["text", "label"]))
    assert (wrong.status, {error["path"] for error in wrong.json["errors"]}) == (422, {"$.kind", "$.columns"})
    for content in (b"", b"a,b\n1,2\n", b"[]\n", json.dumps({"format": "x"}).encode(), b"\xff" * 100_000):
        answer = await put(client, "mine", body(await client.upload(content)))
        assert (answer.status, answer.json["errors"][0]["path"]) == (422, "$.sha256")


@pytest.mark.parametrize(
    ("fields", "path"),
    [({"rows": 0}, "$.rows"), ({"kind": "images"}, "$.kind"), ({"x": 1}, "$.x"), ({"rows": "2"}, "$.rows")],
)
async def test_bad_bodies_are_refused(client: Client, fields: dict[str, Any], path: str) -> None:
    answer = await put(client, "mine", body("0" * 64, **fields))
    assert (answer.status, answer.json["errors"][0]["path"]) == (422, path)


async def test_near_names_are_given(client: Client) -> None:
    answer = await client.call("dataset_get", name="pears")
    assert (answer.status, answer.json["code"]) == (404, "data_not_found")
    assert "'pairs'" in answer.json["detail"]
