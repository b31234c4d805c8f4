"""Synthesis runs over HTTP: what is taken, what is refused with its path, and what `fit` may do with the result."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest

from finetuner.api.types import RunStatus
from finetuner.server import keys
from finetuner.server.store import runs
from finetuner.server.store.blobs import Blobs
from tests.server.serving import Answer, Client, Service, run_body

pytestmark = pytest.mark.anyio

RELATIONS = "$.config.data.num_relations"
MINERS = {"relation_miner": ["all-minilm-l6-v2"]}


def _data_file(kind: str, columns: list[str], *rows: list[str]) -> bytes:
    header = {"format": "finetuner-data/1", "kind": kind, "columns": columns}
    return b"".join(json.dumps(line).encode() + b"\n" for line in (header, *rows))


async def _put(client: Client, name: str, kind: str, columns: list[str]) -> None:
    sha256 = await client.upload(_data_file(kind, columns, [f"{name} {number}" for number in range(len(columns))]))
    body = {"sha256": sha256, "kind": kind, "columns": columns, "rows": 1}
    assert (await client.ask("PUT", f"/api/v1/datasets/{name}", json_body=body)).status == 200


@pytest.fixture
async def maker(client: Client) -> Client:
    """The user whose data sets are `pairs`, `queries`, `corpus` and `triples`."""
    await _put(client, "queries", "texts", ["text"])
    await _put(client, "corpus", "texts", ["text"])
    await _put(client, "triples", "triplets", ["anchor", "positive", "negative"])
    return client


def _body(**config: Any) -> dict[str, Any]:
    whole = {"data": {"query_data": "queries", "corpus_data": "corpus"}, "models": MINERS, **config}
    return {"task": "generation", "config": whole, "device": "cpu"}


async def _finished(service: Service, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Give a run that finished with some zip as its artifact."""
    answer = await service.client.submit(body or _body())
    assert answer.status == 201, answer
    run: dict[str, Any] = answer.json
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("train.jsonl", run["id"])
    blobs: Blobs = service.app[keys.BLOBS]
    path = service.settings.state_dir / f"{run['id']}.zip"
    path.write_bytes(content.getvalue())
    sha256, size = await blobs.adopt(path)
    async with service.database.write() as tx:
        await runs.started(tx, run["id"], "cpu")
        await runs.ended(
            tx, run["id"], status=RunStatus.FINISHED, details="", artifact_sha256=sha256, artifact_size=size
        )
    return run


async def test_a_synthesis_is_taken_with_its_defaults(maker: Client) -> None:
    run = (await maker.submit({**_body(), "name": "made"})).json
    assert run["task"] == "generation"
    assert run["config"] == {
        "data": {"query_data": "queries", "corpus_data": "corpus", "num_relations": 10, "num_workers": 4},
        "models": {"relation_miner": ["all-minilm-l6-v2"], "cross_encoder": None},
        "public": False,
        "run_name": "made",
        "experiment_name": "default",
    }
    trained = (await maker.submit(run_body())).json
    for task, name in (("generation", "made"), ("training", trained["name"])):
        items = (await maker.call("runs_list", {"task": task})).json["items"]
        assert [one["name"] for one in items] == [name]


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"models": {}}, "$.config.models.relation_miner", "missing"),
    ({"models": {"relation_miner": "all-minilm-l6-v2"}}, "$.config.models.relation_miner", "must be"),
    ({"models": {"relation_miner": []}}, "$.config.models.relation_miner", "1 to 8"),
    ({"models": {"relation_miner": ["all-minilm-l6"]}}, "$.config.models.relation_miner[0]", "'all-minilm-l6-v2'"),
    ({"models": {"relation_miner": ["a/b", "a/b"]}}, "$.config.models.relation_miner[1]", "twice"),
    ({"models": {"relation_miner": ["resnet-base"]}}, "$.config.models.relation_miner[0]", "image-to-image"),
    ({"models": {"relation_miner": ["0" * 24]}}, "$.config.models.relation_miner[0]", "no artifact"),
    ({"models": {**MINERS, "cross_encoder": "ms-marco"}}, "$.config.models.cross_encoder", "org/name"),
    ({"models": {**MINERS, "cross_encoder": "bert-base-en"}}, "$.config.models.cross_encoder", "no cross encoder"),
    ({"models": {**MINERS, "cross_encoder": "0" * 24}}, "$.config.models.cross_encoder", "embedding model"),
    ({"models": {**MINERS, "crossencoder": "a/b"}}, "$.config.models.crossencoder", "no such field"),
    ({"data": {"query_data": "queries"}}, "$.config.data.corpus_data", "missing"),
    ({"data": {"query_data": "querys", "corpus_data": "corpus"}}, "$.config.data.query_data", "'queries'"),
    ({"data": {"query_data": "triples", "corpus_data": "corpus"}}, "$.config.data.query_data", "one column"),
    ({"data": {"query_data": "queries", "corpus_data": "pairs"}}, "$.config.data.corpus_data", "one column"),
    ({"public": 1}, "$.config.public", "true or false"),
    ({"hyper_parameters": {}}, "$.config.hyper_parameters", "no such field"),
]
BAD += [
    ({"data": {"query_data": "queries", "corpus_data": "corpus", "num_relations": number}}, RELATIONS, said)
    for number, said in ((0, "1 to 1000"), (1001, "1 to 1000"), (2.5, "must be"))
]


@pytest.mark.parametrize(("config", "path", "said"), BAD, ids=lambda value: json.dumps(value)[:60])
async def test_what_cannot_be_done_is_refused_with_its_path(
    maker: Client, config: dict[str, Any], path: str, said: str
) -> None:
    answer = await maker.submit(_body(**config))
    assert answer.status == 422
    errors = {one["path"]: one["message"] for one in answer.json["errors"]}
    assert said in errors[path]
    assert (await maker.call("runs_list")).json["total"] == 0


async def test_a_synthesis_mines_with_a_tuned_model_and_keeps_its_blob(quiet: Service, maker: Client) -> None:
    tuned = await _finished(quiet, run_body())
    models = {"relation_miner": ["all-minilm-l6-v2", tuned["artifact_id"]]}
    made = await maker.submit(_body(models=models))
    assert made.status == 201, made
    async with quiet.database.read() as conn:
        queued = {run.id: run for run in await runs.queued(conn, 10)}
    assert set(queued[made.json["id"]].data) == {"queries", "corpus", tuned["artifact_id"]}


async def _fit(client: Client, train_data: str, **model: str) -> Answer:
    return await client.submit(run_body(data={"train_data": train_data}, model={"name": "all-minilm-l6-v2", **model}))


async def test_its_artifact_is_trained_on_by_its_id(quiet: Service, maker: Client) -> None:
    made = await _finished(quiet)
    trained = await _fit(maker, made["artifact_id"])
    assert trained.status == 201, trained
    assert trained.json["config"]["data"]["train_data"] == made["artifact_id"]
    async with quiet.database.read() as conn:
        (queued,) = await runs.queued(conn, 10)
    path = quiet.app[keys.BLOBS].path(queued.data[made["artifact_id"]])
    with zipfile.ZipFile(path) as archive:
        assert archive.read("train.jsonl").decode() == made["id"]
    info = (await maker.call("artifact_get", id=made["artifact_id"])).json
    assert info["task"] == "generation"


@pytest.fixture
async def stranger(quiet: Service, maker: Client) -> Client:
    return await quiet.other()


async def test_what_is_no_training_data_is_refused(quiet: Service, maker: Client, stranger: Client) -> None:
    tuned, made = await _finished(quiet, run_body()), await _finished(quiet)
    going = (await maker.submit(_body())).json

    async def message(client: Client, train_data: str, path: str = "$.config.data.train_data", **model: str) -> str:
        answer = await _fit(client, train_data, **model)
        assert answer.status == 422
        return str({one["path"]: one["message"] for one in answer.json["errors"]}[path])

    assert "is a model, no data" in await message(maker, tuned["artifact_id"])
    assert f"run {going['name']!r} is CREATED" in await message(maker, going["artifact_id"])
    await stranger.dataset()
    assert await message(stranger, made["artifact_id"]) == (
        f"there is no artifact {made['artifact_id']!r} of a finished run"
    )
    assert "no model" in await message(maker, "pairs", "$.config.model.artifact", artifact=made["artifact_id"])
    answer = await maker.submit(_body(models={"relation_miner": [made["artifact_id"]]}))
    assert "training data of a synthesis run" in answer.json["errors"][0]["message"]


async def test_a_public_synthesis_is_everybodys_data(quiet: Service, maker: Client, stranger: Client) -> None:
    made = await _finished(quiet, _body(public=True))
    assert (await _fit(stranger, made["artifact_id"])).status == 201
