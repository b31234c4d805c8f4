from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from sqlalchemy import func, select

from finetuner.api.routes import ROUTES, Route
from finetuner.server.app import routes
from finetuner.server.auth import RECALLED, Recalled
from finetuner.server.store import users
from finetuner.server.store.database import Connection, Database
from finetuner.server.store.tables import RUNS
from finetuner.server.store.worker import Worker
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


async def test_no_route_answers_a_user_who_was_disabled_since_the_last_request(quiet: Service) -> None:
    """Some look the token up only while they read or write: nothing is told or done before, no refusal either."""
    stranger = await quiet.other("mallory")
    await stranger.dataset()
    made = await stranger.run(name="mine")
    user_routes = [route for route in ROUTES if route.who == "user"]

    async def statuses() -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for route in user_routes:
            if route.name in {"changes", "runs_delete", "experiments_delete"} or route.method == "DELETE":
                continue
            for query in ("", "?nonsense=1"):
                path = path_of(route, id=made["id"]) + query
                known.update(recalled)
                body = run_body() if route.name == "experiment_runs_create" else {}
                async with stranger.session.request(
                    route.method,
                    stranger.url + path,
                    json=body if route.method in {"POST", "PUT", "PATCH"} else None,
                    headers={"Authorization": f"Bearer {stranger.token}"},
                ) as response:
                    found.setdefault(route.name, []).append(response.status)
        return found

    await stranger.call("run_get", id=made["id"])
    known: Recalled = quiet.app[RECALLED]
    recalled = dict(known)
    assert len(recalled) == 1
    before = await statuses()
    assert not any(401 in codes for codes in before.values())
    assert {before[name][0] for name in ("run_get", "runs_list", "named_run_status", "run_metrics")} == {200}
    assert before["runs_list"][1] == 422
    elsewhere = await Database.open(quiet.settings.db_path)
    async with elsewhere.write() as tx:
        await users.set_disabled(tx, "mallory", disabled=True)
    async with quiet.database.read() as conn:
        count = await conn.scalar(select(func.count()).select_from(RUNS))
    after = await statuses()
    assert {name: codes for name, codes in after.items() if codes != [401, 401]} == {}
    async with quiet.database.read() as conn:
        assert await conn.scalar(select(func.count()).select_from(RUNS)) == count
    async with elsewhere.write() as tx:
        await users.set_disabled(tx, "mallory", disabled=False)
    await elsewhere.close()
    assert (await stranger.call("run_get", id=made["id"])).status == 200


async def test_a_token_is_looked_up_once_a_request_and_within_it(
    client: Client, quiet: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = (await client.run())["id"]
    visits: list[object] = []
    visit = Worker.visit

    def counting(self: Worker, function: Any) -> Any:
        visits.append(function)
        return visit(self, function)

    monkeypatch.setattr(Worker, "visit", counting)
    looks: list[str] = []
    look = users.by_token_sha256

    async def looking(conn: Connection, sha256: str) -> users.User | None:
        looks.append(sha256)
        return await look(conn, sha256)

    monkeypatch.setattr(users, "by_token_sha256", looking)
    for name in ("run_get", "run_status", "runs_list", "run_metrics"):
        visits.clear()
        looks.clear()
        assert (await client.call(name, id=run_id)).status == 200
        assert (len(visits), len(looks)) == (1, 1), name
    visits.clear()
    looks.clear()
    assert (await client.submit(run_body())).status == 201
    assert (len(visits), len(looks)) == (1, 1)
    looks.clear()
    assert (await client.call("run_get", id="f" * 24)).status == 404
    assert len(looks) == 2


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
