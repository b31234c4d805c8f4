"""Events of a server that make no sense: one clear error, nothing before it lost and nothing after it skipped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from finetuner.aio.client import AsyncClient
from finetuner.aio.run import AsyncRun
from finetuner.api.sse import MAX_EVENT_BYTES, PING, Event, encode
from finetuner.errors import BadResponse
from tests.proxy_support import RequestFault, RequestProxy

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Request-Id: 1\r\nConnection: close\r\n\r\n"
RUN: dict[str, Any] = {
    "id": "0" * 24,
    "seq": 1,
    "name": "known",
    "experiment_name": "default",
    "status": "CREATED",
    "artifact_id": "1" * 24,
    "created_at": "2026-01-31T12:00:00Z",
}
PIECES_APART = PING * 30_000
"""More than is read at once."""
SENSELESS: dict[str, object] = {
    "an id alone": {"id": RUN["id"]},
    "no run": 1,
    "no id": {**RUN, "id": []},
    "no status": {**RUN, "status": "PAUSED"},
    "no time": {**RUN, "created_at": 12},
    "no year": {**RUN, "created_at": "0001-01-01T00:00:00+14:00"},
}


def snapshot(*rows: object) -> Event:
    return Event(None, "snapshot", orjson.dumps(rows).decode())


def live(cursor: int) -> Event:
    return Event(str(cursor), "live", orjson.dumps({"cursor": cursor}).decode())


def change(cursor: int, **fields: object) -> Event:
    said = {"cursor": cursor, "kind": "changed", "run_id": RUN["id"], "after": "CREATED", "run": RUN, **fields}
    return Event(str(cursor), "change", orjson.dumps(said).decode())


class Script(RequestProxy):
    """Answers in the place of a server, each time with the next of these streams; the last of them again and again."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1", self._next)
        self.answers_to_come: list[bytes] = []
        self.asked: list[str] = []

    def say(self, *streams: bytes) -> None:
        self.answers_to_come = list(streams)

    def _next(self, head: bytes) -> RequestFault:
        self.asked.append(head.split(b" ")[1].decode())
        said = self.answers_to_come.pop(0) if len(self.answers_to_come) > 1 else self.answers_to_come[0]
        return RequestFault(answer=HEAD + said)


@pytest.fixture
async def script() -> AsyncIterator[Script]:
    async with Script() as made:
        yield made


@pytest.fixture
async def client(script: Script) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(script.url, "a-token") as made:
        yield made


@pytest.mark.parametrize("row", SENSELESS.values(), ids=SENSELESS)
async def test_a_row_of_a_snapshot_that_is_no_run_is_refused(client: AsyncClient, script: Script, row: object) -> None:
    script.say(encode([snapshot(RUN), snapshot(row), live(5)]))
    with pytest.raises(BadResponse, match=r"^the server's event '\[.*' makes no sense: "):
        await anext(client.watch())
    with pytest.raises(BadResponse, match=r"^the server's event '\[.*' makes no sense: "):
        await client.watch().snapshot()
    with pytest.raises(BadResponse, match=r"^the server's event '\[.*' makes no sense: "):
        await client.wait_all([AsyncRun(client, RUN)], 60)


async def test_after_a_snapshot_that_makes_no_sense_it_is_asked_for_anew(client: AsyncClient, script: Script) -> None:
    other = {**RUN, "id": "2" * 24, "seq": 2}
    script.say(
        encode([snapshot(RUN, 1)]) + PIECES_APART + encode([live(5), change(6)]),
        encode([snapshot(other, RUN), live(6)]),
    )
    async with client.watch() as watch:
        with pytest.raises(BadResponse):
            await anext(watch)
        assert {change.run_id for change in await watch.batch()} == {RUN["id"], other["id"]}
        assert watch.cursor == 6
    assert script.asked[:2] == ["/api/v1/events", "/api/v1/events"]


async def test_what_comes_before_a_senseless_change_is_given_and_what_comes_after_it_is_not_skipped(
    client: AsyncClient, script: Script
) -> None:
    script.say(
        encode([snapshot(RUN), live(5), change(6), change(7, after="PAUSED"), change(8)]),
        encode([change(7), change(8)]),
    )
    async with client.watch() as watch:
        assert [(await anext(watch)).kind, (await anext(watch)).cursor] == ["snapshot", 6]
        assert watch.cursor == 6
        with pytest.raises(BadResponse, match="'PAUSED' is not a valid RunStatus"):
            await anext(watch)
        assert [(await anext(watch)).cursor for _ in range(2)] == [7, 8]
    assert script.asked[:2] == ["/api/v1/events", "/api/v1/events?since=6"]


async def test_after_an_event_that_is_too_large_nothing_is_skipped(client: AsyncClient, script: Script) -> None:
    large = Event("7", "change", " " * (2 * MAX_EVENT_BYTES))
    script.say(encode([snapshot(RUN), live(5), change(6), large, change(8)]), encode([change(8)]))
    async with client.watch() as watch:
        await watch.snapshot()
        assert (await anext(watch)).cursor == 6
        with pytest.raises(BadResponse, match="is larger than"):
            await anext(watch)
        assert (await anext(watch)).cursor == 8
    assert script.asked[1] == "/api/v1/events?since=6"


async def test_a_run_that_ended_is_given_before_the_error(client: AsyncClient, script: Script) -> None:
    ends = {**RUN, "status": "FINISHED", "finished_at": "2026-01-31T12:00:01Z"}
    goes_on = {**RUN, "id": "2" * 24, "seq": 2}
    script.say(
        encode([snapshot(goes_on, RUN), live(5), change(6, after="FINISHED", run=ends), change(7, after="PAUSED")])
    )
    async with client.as_completed([AsyncRun(client, RUN), AsyncRun(client, goes_on)], 60) as ended:
        assert (await anext(ended)).id == RUN["id"]
        with pytest.raises(BadResponse, match="makes no sense"):
            await anext(ended)
