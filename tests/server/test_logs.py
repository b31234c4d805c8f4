"""Logs as text and as streams: every byte once, in order, whoever comes and goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import pairwise
from pathlib import Path

import aiohttp
import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetuner.api.lines import tail
from finetuner.api.sse import Ping, encode_log
from finetuner.server import keys
from finetuner.server.handlers.logs import Span, span_of
from finetuner.server.logfeed import LogFeed, Piece
from finetuner.server.logform import LogForm
from finetuner.server.logpick import tail_start
from finetuner.server.presence import PRESENCE
from finetuner.server.refusals import Refusal
from finetuner.server.settings import Settings
from tests.server.serving import Service, make_settings, serving, starting_nothing
from tests.server.streams import data, opened
from tests.server.test_scheduler import ended, job, reached, run_dir, stop_runs, until

pytestmark = pytest.mark.anyio
TEXT = "one\nzwei ü\n\nfour\u2028still four\nfive\n"
LOG = TEXT.encode()
WRITER = job(f"sys.stdout.buffer.write({LOG!r}); sys.stdout.flush(); until('go')")


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    made = make_settings(tmp_path / "state", job_argv=WRITER, grace_s=1.0)
    yield made
    stop_runs(made.runs_dir)


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[Service]:
    async with serving(settings) as running:
        await running.client.dataset()
        yield running


@given(first=st.integers(0, 30), last=st.integers(0, 30), size=st.integers(0, 30))
def test_a_range_gives_the_bytes_it_names(first: int, last: int, size: int) -> None:
    log = bytes(range(size))
    if first >= size and size:
        with pytest.raises(Refusal):
            span_of(f"bytes={first}-", size)
    elif size:
        span = span_of(f"bytes={first}-", size)
        assert log[span.start : span.end] == log[first:]
        if last >= first:
            span = span_of(f"bytes={first}-{last}", size)
            assert log[span.start : span.end] == log[first : last + 1]
    if last and size:
        span = span_of(f"bytes=-{last}", size)
        assert log[span.start : span.end] == log[-last:]


@pytest.mark.parametrize(
    "text", [None, "", "bytes=", "bytes=-", "bytes=5-2", "bytes=0-1,3-4", "lines=1-2", "bytes=a-b"]
)
def test_what_is_no_single_range_gives_all(text: str | None) -> None:
    assert span_of(text, 9) == Span(0, 9, is_part=False)


@given(lines=st.lists(st.binary(max_size=5).map(lambda line: line.replace(b"\n", b"x"))), cut=st.booleans())
def test_a_tail_begins_where_the_lines_do(
    lines: list[bytes], cut: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("log")
    log = b"\n".join(lines) + (b"" if cut else b"\n")
    (folder / "log").write_bytes(log)
    for count in range(len(lines) + 2):
        assert log[tail_start(folder, len(log), count) :] == tail(log, count)


def test_a_long_log_is_not_read_whole_for_its_tail(tmp_path: Path) -> None:
    log = b"a line of some length\n" * 20_000
    (tmp_path / "log").write_bytes(log)
    for count in (1, 100, 10_000, 20_000, 30_000):
        assert log[tail_start(tmp_path, len(log), count) :] == tail(log, count)


async def test_a_log_is_given_as_text_by_range_and_by_tail(service: Service, settings: Settings) -> None:
    run = await service.client.run()
    await until(lambda: asyncio.to_thread(lambda: _size(settings, run["id"]) == len(LOG)))
    path = f"/api/v1/runs/{run['id']}/logs"
    whole = await service.client.ask("GET", path)
    assert (whole.status, whole.body) == (200, LOG)
    assert whole.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert (whole.headers["X-Run-Status"], whole.headers["X-Log-Size"]) == ("STARTED", str(len(LOG)))
    part = await service.client.ask("GET", path, headers={"Range": "bytes=4-7"})
    assert (part.status, part.body, part.headers["Content-Range"]) == (206, LOG[4:8], f"bytes 4-7/{len(LOG)}")
    assert (await service.client.ask("GET", path, headers={"Range": "bytes=-3"})).body == LOG[-3:]
    past = await service.client.ask("GET", path, headers={"Range": f"bytes={len(LOG) + 1}-"})
    assert (past.status, past.json["code"]) == (416, "log_truncated")
    assert (await service.client.ask("GET", f"{path}?tail=2")).body == tail(LOG, 2)
    assert (await service.client.ask("GET", f"{path}?tail=x")).status == 422


async def test_a_run_that_waits_has_an_empty_log(settings: Settings) -> None:
    async with serving(starting_nothing(settings)) as service:
        await service.client.dataset()
        run = await service.client.run()
        answer = await service.client.call("run_logs", id=run["id"])
        assert (answer.status, answer.body, answer.headers["X-Run-Status"]) == (200, b"", "CREATED")


async def test_the_logs_of_others_are_not_there(service: Service) -> None:
    run = await service.client.run()
    other = await service.other()
    for route in ("run_logs", "run_logstream", "run_events"):
        assert (await other.call(route, id=run["id"])).status == 404


async def test_a_stream_waits_follows_and_ends_with_the_run(service: Service, settings: Settings) -> None:
    first, second = await service.client.run(), await service.client.run()
    async with opened(service.client, f"/api/v1/runs/{second['id']}/logstream?events=1") as stream:
        assert stream.response.headers["X-Run-Status"] == "CREATED"
        await reached(service, first, "STARTED")
        (run_dir(settings, first) / "go").touch()
        lines = [(await stream.event("message")).data for _ in range(LOG.count(b"\n"))]
        assert lines == TEXT.split("\n")[:-1]
        (run_dir(settings, second) / "go").touch()
        end = await stream.event()
        assert (end.event, end.id, data(end)) == ("end", str(len(LOG)), {"status": "FINISHED", "details": ""})
        assert await stream.next() is None


async def test_a_stream_goes_on_after_any_byte_that_ends_a_line(service: Service, settings: Settings) -> None:
    run = await service.client.run()
    await reached(service, run, "STARTED")
    (run_dir(settings, run) / "go").touch()
    await ended(service, run)
    path = f"/api/v1/runs/{run['id']}/logstream"
    ends = [0, *(index + 1 for index, byte in enumerate(LOG) if byte == ord("\n"))]
    for offset in ends:
        async with opened(service.client, f"{path}?after={offset}") as stream:
            assert await stream.rest() == encode_log(LOG[offset:], offset)
        async with opened(service.client, f"{path}?after=0", {"Last-Event-ID": str(offset)}) as stream:
            assert await stream.rest() == encode_log(LOG[offset:], offset)
    past = await service.client.ask("GET", f"{path}?after={len(LOG) + 1}")
    assert (past.status, past.json["code"]) == (416, "log_truncated")


async def test_a_log_of_many_pieces_arrives_whole(settings: Settings) -> None:
    source = "for i in range(40_000): print(i, 'x' * (i % 50))\nprint('y' * 65536)\nprint('last', end='')"
    async with serving(attrs.evolve(settings, job_argv=job(source))) as service:
        await service.client.dataset()
        run = await service.client.run()
        async with opened(service.client, f"/api/v1/runs/{run['id']}/logstream") as stream:
            sent = await stream.rest()
        log = (run_dir(settings, run) / "log").read_bytes()
        whole = await service.client.call("run_logs", id=run["id"])
    assert log.count(b"\n") == 40_002
    assert sent == encode_log(log, 0)
    assert whole.body == log


async def test_a_long_log_gives_others_their_turn_between_its_pieces(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer fits into the socket's buffer, so that no write waits."""
    pieces = 0
    seen: list[int] = []
    read = LogFeed.piece

    def counted(feed: LogFeed, offset: int, form: LogForm) -> Piece | None:
        nonlocal pieces
        pieces += 1
        return read(feed, offset, form)

    async def other() -> None:
        while True:
            seen.append(pieces)
            await asyncio.sleep(0)

    monkeypatch.setattr(LogFeed, "piece", counted)
    async with serving(attrs.evolve(settings, job_argv=job("print(('x' * 99 + '\\n') * 10_000)"))) as service:
        await service.client.dataset()
        run = await service.client.run()
        await ended(service, run)
        turns = asyncio.create_task(other())
        async with opened(service.client, f"/api/v1/runs/{run['id']}/logstream") as stream:
            await stream.rest()
        turns.cancel()
    assert max(seen) > 10
    assert max(after - before for before, after in pairwise(seen)) <= 2  # the last is asked for beside the one before


@pytest.mark.counted
async def test_many_streams_of_one_run_get_the_same_bytes(settings: Settings, scaled: Callable[[int], int]) -> None:
    count = max(20, scaled(300))
    source = "until('go')\nfor i in range(300):\n print('line', i, flush=True)\n if i % 100 == 0: time.sleep(0.05)"
    async with serving(attrs.evolve(settings, job_argv=job(source))) as service:
        await service.client.dataset()
        run = await service.client.run()
        feeds = service.app[keys.HUB].logs
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            client = attrs.evolve(service.client, session=session)

            async def one() -> bytes:
                async with opened(client, f"/api/v1/runs/{run['id']}/logstream?events=1") as stream:
                    return await stream.rest()

            streams = [asyncio.create_task(one()) for _ in range(count)]
            await reached(service, run, "STARTED")

            async def all_follow() -> bool:
                return feeds.users(run["id"]) == count

            await until(all_follow)
            assert len(feeds) == 1
            (run_dir(settings, run) / "go").touch()
            sent = await asyncio.gather(*streams)
        log = (run_dir(settings, run) / "log").read_bytes()
    assert log.count(b"\n") == 300
    assert len(set(sent)) == 1
    assert sent[0].startswith(encode_log(log, 0) + f"id: {len(log)}\nevent: end\n".encode())


async def test_a_client_that_leaves_is_let_go_and_a_silent_stream_pings(settings: Settings) -> None:
    async with serving(attrs.evolve(settings, ping_s=0.05)) as service:
        await service.client.dataset()
        run = await service.client.run()
        feeds = service.app[keys.HUB].logs
        async with opened(service.client, f"/api/v1/runs/{run['id']}/logstream") as stream:
            for _ in range(LOG.count(b"\n")):
                await stream.event("message")
            assert isinstance(await stream.next(), Ping)
            assert isinstance(await stream.next(), Ping)
            assert len(feeds) == 1

        async def is_let_go() -> bool:
            return len(feeds) == 0

        await until(is_let_go)
        (run_dir(settings, run) / "go").touch()


async def test_a_stream_of_a_deleted_run_ends_without_a_word(service: Service) -> None:
    run = await service.client.run()
    async with opened(service.client, f"/api/v1/runs/{run['id']}/logstream?events=1") as stream:
        await stream.event("message")
        await service.client.call("run_delete", id=run["id"])
        assert b"event: end" not in await stream.rest()


async def test_a_stream_that_a_stopping_server_cuts_does_not_look_whole(settings: Settings) -> None:
    async with aiohttp.ClientSession() as session:
        async with serving(settings) as service:
            await service.client.dataset()
            run = await service.client.run()
            client = attrs.evolve(service.client, session=session)
            path = f"/api/v1/runs/{run['id']}/logstream"
            async with opened(client, path) as stream:
                await stream.event("message")
                service.app[PRESENCE].stopping.set()
                with pytest.raises(aiohttp.ClientError):
                    await stream.rest()
        (run_dir(settings, run) / "go").touch()


async def test_events_are_given_by_offset(settings: Settings) -> None:
    source = "tell(kind='progress', phase='training', step=1)\ntell(kind='log', level='info', message='m')"
    async with serving(attrs.evolve(settings, job_argv=job(source))) as service:
        await service.client.dataset()
        run = await service.client.run()
        await ended(service, run)
        first = (await service.client.call("run_events", id=run["id"])).json
        assert [event["kind"] for event in first["events"]] == ["progress", "log"]
        rest = (await service.client.call("run_events", {"after": first["offset"]}, id=run["id"])).json
        assert rest == {"events": [], "offset": first["offset"]}
        some = (await service.client.call("run_events", {"kind": "log"}, id=run["id"])).json
        assert some == {"events": first["events"][1:], "offset": first["offset"]}
        beyond = await service.client.call("run_events", {"after": 99_999}, id=run["id"])
        assert (beyond.status, beyond.json["code"]) == (416, "log_truncated")
        assert run["name"] in beyond.json["detail"]
        assert str(settings.state_dir) not in beyond.json["detail"]


async def test_events_that_no_reader_takes_are_left_out(settings: Settings) -> None:
    odd = [
        b'{"kind": "examples", "stage": "after", "values": ' + b"[" * 300 + b"]" * 300 + b"}",
        b'{"kind": "metrics", "values": {"large": 1' + b"0" * 400 + b"}}",
        b'{"kind": "progress", "step": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"kind": "log", "message": "\\ud800"}',
    ]
    async with serving(attrs.evolve(settings, job_argv=job("pass"))) as service:
        await service.client.dataset()
        run = await service.client.run()
        await ended(service, run)
        with (run_dir(settings, run) / "events.jsonl").open("ab") as file:
            file.write(b"\n".join([*odd, b'{"kind": "log", "message": "good"}', b""]))
        answer = await service.client.call("run_events", id=run["id"])
    assert answer.status == 200
    assert answer.json["events"][-1] == {"kind": "log", "message": "good"}


def _size(settings: Settings, run_id: str) -> int:
    log = settings.runs_dir / run_id / "log"
    return log.stat().st_size if log.exists() else 0
