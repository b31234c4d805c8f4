from __future__ import annotations

import aiohttp
import pytest

from finetuner.api.routes import ROUTES, Route
from finetuner.server.app import routes
from finetuner.server.store import users
from finetuner.server.store.database import Database
from tests.server.serving import Client, Service, run_body
from tests.server.streams import opened

pytestmark = pytest.mark.anyio
OF_A_RUN = [route for route in ROUTES if "{run}" in route.path or route.path.startswith("/api/v1/runs/{id}")]
PARTS = {"experiment": "default", "run": "mine", "id": "0" * 24, "name": "pairs", "upload": "sha256-" + "0" * 64}


def path_of(route: Route, **parts: str) -> str:
    names = [name for name in PARTS if f"{{{name}}}" in route.path]
    return route.url(None, **{name: {**PARTS, **parts}[name] for name in names})


@pytest.mark.parametrize("authorization", [None, "Bearer ", "Bearer wrong", "Basic YTpi", "wrong"])
async def test_every_route_but_those_for_anyone_needs_a_token(client: Client, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    for route in ROUTES:
        if route.who == "anyone":
            continue
        async with client.session.request(route.method, client.url + path_of(route), headers=headers) as response:
            assert response.status == 401, route
            if route.method != "HEAD":
                assert (await response.json())["code"] == "not_logged_in"


async def test_both_schemes_are_taken(client: Client) -> None:
    for scheme in ("Bearer", "token", "bearer", "Token"):
        answer = await client.ask("GET", "/api/v1/me", headers={"Authorization": f"{scheme} {client.token}"})
        assert (answer.status, answer.json["name"]) == (200, "local")


async def test_the_runs_of_others_do_not_exist(client: Client, quiet: Service) -> None:
    made = await client.run(name="mine")
    stranger = await quiet.other(is_admin=True)
    for route in OF_A_RUN:
        theirs = await stranger.ask(route.method, path_of(route, id=made["id"]))
        nobodys = await stranger.ask(route.method, path_of(route, id="f" * 24, run="nobodys"))
        assert (theirs.status, nobodys.status) == (404, 404), route
        assert theirs.json["code"] == nobodys.json["code"] == "run_not_found"
    assert (await client.call("run_get", id=made["id"])).status == 200


async def test_nothing_else_of_others_shows_either(client: Client, quiet: Service) -> None:
    made = await client.run(name="mine")
    stranger = await quiet.other()
    assert (await stranger.call("runs_list")).json["items"] == []
    assert (await stranger.call("experiments_list")).json["items"] == []
    assert (await stranger.call("datasets_list")).json["items"] == []
    assert (await stranger.call("runs_delete")).json == {"deleted": 0}
    assert (await stranger.call("experiments_delete")).json == {"deleted": 0}
    for name in ("experiment_get", "experiment_delete"):
        assert (await stranger.call(name, experiment="default")).status == 404
    for name in ("dataset_get", "dataset_delete"):
        assert (await stranger.call(name, name="pairs")).status == 404
    for name in ("artifact_get", "artifact_content"):
        assert (await stranger.call(name, id=made["artifact_id"])).status == 404
    assert (await stranger.submit(run_body(model={"artifact": made["artifact_id"]}))).status == 422
    assert (await client.call("run_get", id=made["id"])).status == 200


async def test_a_route_for_admins_is_for_admins(quiet: Service) -> None:
    stranger = await quiet.other()
    for route in ROUTES:
        if route.who == "admin":
            answer = await stranger.ask(route.method, route.path)
            assert (answer.status, answer.json["code"]) == (403, "not_allowed")


async def test_a_disabled_user_is_refused_from_the_next_request_on(quiet: Service) -> None:
    stranger = await quiet.other("mallory")
    assert (await stranger.call("me")).json == {"name": "mallory", "is_admin": False}
    async with quiet.database.write() as tx:
        await users.set_disabled(tx, "mallory", disabled=True)
    assert (await stranger.call("me")).status == 401


@pytest.mark.parametrize("what", ["events", "logstream"])
async def test_the_open_streams_of_a_disabled_user_are_cut(quiet: Service, what: str) -> None:
    stranger = await quiet.other("mallory")
    await stranger.dataset()
    made = await stranger.run(name="hers")
    path = {"events": "/api/v1/events", "logstream": f"/api/v1/runs/{made['id']}/logstream"}[what]
    async with opened(stranger, path) as stream:
        if what == "events":
            await stream.event("live")
        # By another process, as the command line does: nothing in the server is told of it.
        elsewhere = await Database.open(quiet.settings.db_path)
        async with elsewhere.write() as tx:
            await users.set_disabled(tx, "mallory", disabled=True)
        await elsewhere.close()
        with pytest.raises(aiohttp.ClientPayloadError):
            await stream.rest()
    assert (await stranger.ask("GET", path)).status == 401


async def test_the_database_has_no_token(quiet: Service) -> None:
    stranger = await quiet.other()
    path = quiet.settings.db_path
    kept = b"".join(one.read_bytes() for one in path.parent.glob("finetuner.db*"))
    assert b"other" in kept
    assert stranger.token.encode() not in kept
    assert quiet.client.token.encode() not in kept


async def test_an_embedded_server_forgets_the_token_of_its_last_start(quiet: Service) -> None:
    async with quiet.database.write() as tx:
        fresh = await users.ensure_local(tx)
    assert (await quiet.client.call("me")).status == 401
    assert fresh != quiet.client.token


async def test_every_answer_has_a_request_id(client: Client) -> None:
    for path in ("/health", "/api/v1/me", "/nowhere", "/api/v1/runs/zzz"):
        answer = await client.ask("GET", path, headers={"X-Request-Id": "mine-1"})
        assert answer.headers["X-Request-Id"] == "mine-1"
        if answer.status >= 400:
            assert answer.json["request_id"] == "mine-1"
    strange = await client.ask("GET", "/health", headers={"X-Request-Id": "<script>"})
    assert strange.headers["X-Request-Id"] not in {"", "<script>"}


async def test_unknown_paths_and_methods_are_answered_in_json(client: Client) -> None:
    assert (await client.ask("GET", "/nowhere")).json["code"] == "not_found"
    wrong = await client.ask("PUT", "/api/v1/runs")
    assert (wrong.status, wrong.json["code"]) == (405, "method_not_allowed")
    assert "GET" in wrong.headers["Allow"]
    large = await client.ask("POST", "/api/v1/experiments/", data=b" " * (5 * 2**20))
    assert (large.status, large.json["code"]) == (413, "too_large")


async def test_a_fault_is_answered_without_its_details(quiet: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise KeyError("a secret detail")

    monkeypatch.setattr("finetuner.server.store.users.by_token_sha256", fail)
    answer = await quiet.client.call("me")
    assert (answer.status, answer.json["code"]) == (500, "internal")
    assert b"secret detail" not in answer.body


def test_a_route_without_a_handler_is_found_at_the_start() -> None:
    with pytest.raises(LookupError, match="health"):
        routes({})
