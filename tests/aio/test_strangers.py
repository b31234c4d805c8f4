"""What answers where a Finetuner server should: a stranger, nobody, too late, or a server of an older version."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from finetuner import errors
from finetuner.aio import credentials
from finetuner.aio.client import AsyncClient
from finetuner.aio.run import AsyncRun
from finetuner.aio.transport import Request
from finetuner.api import routes
from finetuner.api.config import RunRequest
from finetuner.api.routes import Route
from finetuner.server.handlers import submit
from tests.aio.conftest import home_at
from tests.behaviours.between import stranger
from tests.server.serving import Service, make_settings, serving, starting_nothing

pytestmark = pytest.mark.anyio

PAGE = b"<html><title>Welcome to this network</title><a href='/login'>log in</a></html>"
TOKEN = "a-token"
LOSS = "MultipleNegativesRankingLoss"
DATA = [("a dog barks", "an animal"), ("it rains", "weather")]
LIMIT_S = 60
"""A call of `timeout_s=1` that is not over by then waits for ever."""


def a_run(client: AsyncClient) -> AsyncRun:
    known = {"id": "0" * 24, "name": "known", "experiment_name": "default", "artifact_id": "1" * 24}
    return AsyncRun(client, {**known, "status": "CREATED"})


def fit(client: AsyncClient) -> Coroutine[Any, Any, AsyncRun]:
    return client.fit("all-minilm-l6-v2", DATA, loss=LOSS, progress=False)


CALLS: dict[str, Callable[[AsyncClient], Coroutine[Any, Any, Any]]] = {
    "login": lambda client: client.login(host=client.host, token=TOKEN),
    "list_runs": lambda client: client.list_runs(),
    "get_run": lambda client: client.get_run("known"),
    "list_datasets": lambda client: client.list_datasets(),
    "delete_dataset": lambda client: client.delete_dataset("known"),
    "delete_experiments": lambda client: client.delete_experiments(),
    "count_runs": lambda client: client.count_runs(),
    "fit": fit,
    "logs": lambda client: a_run(client).logs(),
    "status": lambda client: a_run(client).status(),
    "metrics": lambda client: a_run(client).metrics(),
    "cancel": lambda client: a_run(client).cancel(),
    "delete": lambda client: a_run(client).delete(),
    "save_artifact": lambda client: a_run(client).save_artifact(),
    "stream_logs": lambda client: anext(a_run(client).stream_logs()),
    "wait": lambda client: a_run(client).wait(),
    "watch": lambda client: anext(client.watch()),
}


@pytest.fixture(autouse=True)
def folders(tmp_path: Path) -> Iterator[None]:
    with home_at(tmp_path):
        yield


async def refused(url: str, call: str, kind: type[Exception], match: str) -> None:
    async with AsyncClient(url, TOKEN, timeout_s=1) as client, asyncio.timeout(LIMIT_S):
        with pytest.raises(kind, match=match) as caught:
            await CALLS[call](client)
    assert type(caught.value) is kind


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("status", "body", "headers", "match"),
    [
        (200, PAGE, {"Content-Type": "text/html"}, "text/html"),
        (200, b"{}", {"Content-Type": "application/json"}, "application/json"),
        (302, b"", {"Location": "http://login.example/"}, "a redirect to http://login.example/"),
        (404, PAGE, {"Content-Type": "text/html"}, "with status 404; is this a Finetuner server"),
    ],
    ids=["a page", "JSON", "a redirect", "nothing"],
)
async def test_a_stranger_is_taken_for_no_server(
    status: int, body: bytes, headers: dict[str, str], match: str, call: str
) -> None:
    with stranger(status, body, headers) as url:
        await refused(url, call, errors.BadResponse, match)
        assert credentials.token_for(url) is None


@pytest.mark.parametrize("call", ["list_runs", "stream_logs", "login"])
async def test_an_answer_that_is_json_and_not_what_was_asked_for(call: str) -> None:
    with stranger(200, b"[1]", {"X-Request-Id": "r-1", "Content-Type": "application/json"}) as url:
        match = "is no page|no JSON object|application/json, not with application/vnd.finetuner.log"
        await refused(url, call, errors.BadResponse, match)


async def test_a_server_that_streams_logs_as_older_ones_did_is_told() -> None:
    with stranger(200, b"id: 4\ndata: one\n\n", {"X-Request-Id": "r-1", "Content-Type": "text/event-stream"}) as url:
        await refused(url, "stream_logs", errors.ServerTooOld, "no longer reads: update the server")


@contextlib.asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """Give the address of what takes connections and says nothing."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    await refused(
        f"http://127.0.0.1:{port}", "list_runs", errors.ServerUnavailable, "check the address and the network"
    )
    await refused("http://no-such-host.invalid", "list_runs", errors.ServerUnavailable, "no-such-host.invalid")
    async with silent() as address:
        await refused(f"http://{address}", "list_runs", errors.ServerUnavailable, "no answer from")


async def test_tls_where_there_is_none() -> None:
    with stranger(200, PAGE, {}) as url:
        await refused(
            url.replace("http:", "https:"), "list_runs", errors.ServerUnavailable, "does it speak https there"
        )
    async with silent() as address:
        await refused(f"https://{address}", "list_runs", errors.ServerUnavailable, "no answer from https:")


class SlowNames(AbstractResolver):
    """Looks names up for ever."""

    async def resolve(self, host: str, *_: Any, **__: Any) -> list[ResolveResult]:
        await asyncio.Event().wait()
        raise AssertionError(host)

    async def close(self) -> None:
        pass


async def test_a_name_that_is_looked_up_for_ever() -> None:
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=SlowNames())) as session,
        AsyncClient("http://machine.example", TOKEN, session=session, timeout_s=0.5) as client,
        asyncio.timeout(LIMIT_S),
    ):
        with pytest.raises(errors.ServerUnavailable, match=r"no answer from http://machine\.example"):
            await client.list_runs()
        stream = a_run(client).stream_logs()
        stream.idle_timeout_s = stream.reconnect_timeout_s = 0.5
        with pytest.raises(errors.ServerUnavailable, match=r"tried for 0\.5 s"):
            await anext(stream)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with serving(starting_nothing(make_settings(tmp_path / "service", embedded=False))) as made:
        yield made


async def a_user(service: Service) -> AsyncClient:
    return AsyncClient(service.url, (await service.other()).token, timeout_s=5)


async def test_a_server_of_before_a_field_is_told_to_be_too_old(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {one.name: attrs.field(default=one.default, type=one.type) for one in attrs.fields(RunRequest)}
    del fields["description"]
    rest = {"description": attrs.fields(RunRequest).description.default}  # what the rest of this server asks for
    older = attrs.make_class("RunRequest", fields, kw_only=True, frozen=True, class_body=rest)
    monkeypatch.setattr(submit, "RunRequest", older)
    async with await a_user(service) as client:
        with pytest.raises(errors.ServerTooOld, match=r"does not know \$\.description .*update the server") as caught:
            await client.fit("all-minilm-l6-v2", DATA, loss=LOSS, description="new", progress=False)
        assert "Whether the run was created" not in str(caught.value)
        assert (caught.value.status, caught.value.idempotency_key) == (422, None)
        assert await client.list_runs() == []
        # What was not given is not sent: the rest goes on as before.
        run = await fit(client)
        assert await client.list_runs() == [run]


async def test_a_server_of_before_a_call_or_a_parameter_is_told_to_be_too_old(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = {"of_later": Route("of_later", "GET", "/api/v1/of-later", "user", "A call of later")}
    later["method_of_later"] = Route("method_of_later", "PATCH", "/api/v1/me", "user", "A method of later")
    for name, route in later.items():
        monkeypatch.setitem(routes.BY_NAME, name, route)
    async with await a_user(service) as client:
        for request, match in (
            (Request(route="of_later"), r"has no such call \(GET /api/v1/of-later\): it is older than this client"),
            (Request(route="method_of_later"), r"has no such call \(PATCH /api/v1/me\): it is older than this client"),
            (
                Request(route="runs_list", query={"of_later": 1}),
                r"does not know \$\.of_later \(GET .*update the server",
            ),
        ):
            with pytest.raises(errors.ServerTooOld, match=match):
                await client._transport.call(request)
