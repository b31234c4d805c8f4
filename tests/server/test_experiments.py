from __future__ import annotations

import asyncio

import pytest

from tests.server.serving import Client

pytestmark = pytest.mark.anyio


async def test_an_experiment_is_made_given_listed_and_deleted(client: Client) -> None:
    made = await client.ask("POST", "/api/v1/experiments/", json_body={"name": "mine", "description": "why"})
    assert made.status == 201
    assert (made.json["name"], made.json["status"], made.json["description"]) == ("mine", "ACTIVE", "why")
    assert (await client.call("experiment_get", experiment="mine")).json == made.json
    listed = (await client.call("experiments_list")).json
    assert listed == {"items": [made.json], "total": 1, "page": 1, "size": 50, "pages": 1}
    assert (await client.call("experiment_delete", experiment="mine")).json == {"deleted": 1}
    assert (await client.call("experiment_delete", experiment="mine")).status == 404


async def test_a_taken_name_is_refused(client: Client) -> None:
    body = {"name": "mine"}
    answers = await asyncio.gather(*(client.ask("POST", "/api/v1/experiments/", json_body=body) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 7


@pytest.mark.parametrize("body", [{"name": ""}, {"name": "a/b"}, {"name": None}, {}, {"name": "x", "nmae": "y"}])
async def test_bad_bodies_are_refused(client: Client, body: dict[str, object]) -> None:
    answer = await client.ask("POST", "/api/v1/experiments/", json_body=body)
    assert (answer.status, answer.json["code"]) == (422, "invalid")
    assert answer.json["errors"][0]["path"].startswith("$.n")


async def test_an_experiment_goes_with_its_runs_alone(client: Client) -> None:
    await client.run(experiment="one")
    kept = await client.run(experiment="two")
    await client.call("experiment_delete", experiment="one")
    assert [run["id"] for run in (await client.call("runs_list")).json["items"]] == [kept["id"]]
    assert (await client.call("experiment_runs_list", experiment="one")).status == 404
    assert (await client.call("experiments_delete")).json == {"deleted": 1}
    assert (await client.call("runs_list")).json["total"] == 0


async def test_near_names_are_given(client: Client) -> None:
    await client.run(experiment="finance")
    for name in ("experiment_get", "experiment_runs_list", "experiment_runs_delete"):
        answer = await client.call(name, experiment="finanse")
        assert (answer.status, answer.json["code"]) == (404, "experiment_not_found")
        assert "Near: 'finance'" in answer.json["detail"]


async def test_everybody_has_the_default_experiment(client: Client) -> None:
    listed = await client.call("experiment_runs_list", experiment="default")
    assert (listed.status, listed.json["items"]) == (200, [])
    assert (await client.call("experiment_runs_delete", experiment="default")).json == {"deleted": 0}


async def test_pages_hold_newest_first(client: Client) -> None:
    for number in range(5):
        await client.ask("POST", "/api/v1/experiments/", json_body={"name": f"e{number}"})
    page = (await client.call("experiments_list", {"page": 2, "size": 2})).json
    assert [one["name"] for one in page["items"]] == ["e2", "e1"]
    assert (page["total"], page["pages"]) == (5, 3)
