"""One of 64 page requests fails: it is sent again, or the list ends with one clear error; nothing is left of either."""

from __future__ import annotations

import asyncio
import functools
import os
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest

from finetuner import errors
from finetuner.aio import listing, transport
from finetuner.aio.client import AsyncClient
from finetuner.api import paging, retry
from tests.proxy_support import BAD_GATEWAY, BUSY, RequestFault, RequestProxy
from tests.server.serving import TOKEN, Service, make_settings, serving, starting_nothing

pytestmark = pytest.mark.anyio

PAGES, ROWS = 64, 3
SILENCE_S = 0.4
"""In place of the client's 30 s, where a page is not answered."""
LASTING_S = 1.0
"""For how long a page is asked for again where its fault stays."""
LIMIT_S = 60.0
"""How long a call may take: of the pages that are answered, none is to be too late on a busy machine."""
Rows = list[dict[str, Any]]


def answer(status: str, body: str = "{}", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", body]
    return "\r\n".join(lines).encode()


def remade(make: Callable[[dict[str, Any]], object]) -> RequestFault:
    """Change what a page says, and leave everything else of the answer as it is."""

    def spoil(whole: bytes) -> bytes:
        head, _, body = whole.partition(b"\r\n\r\n")
        made = make(orjson.loads(body))
        new = made if isinstance(made, bytes) else orjson.dumps(made)
        head = re.sub(rb"(?i)content-length: *\d+", b"Content-Length: %d" % len(new), head)
        return head + b"\r\n\r\n" + new

    return RequestFault(spoil=spoil)


def with_rows(make: Callable[[Rows], object]) -> RequestFault:
    return remade(lambda page: {**page, "items": make(page["items"])})


def nameless(whole: bytes) -> bytes:
    """Take the name of the request out, which each answer of a Finetuner server has."""
    return re.sub(rb"(?i)X-Request-Id: [^\r]*\r\n", b"", whole)


PASSING: dict[str, Callable[[random.Random], RequestFault]] = {
    "500": lambda _: RequestFault(answer=answer("500 Internal Server Error")),
    "502": lambda _: RequestFault(answer=BAD_GATEWAY),
    "503": lambda _: RequestFault(answer=BUSY),
    "429": lambda _: RequestFault(answer=answer("429 Too Many Requests", "{}", "Retry-After: 0.1")),
    "silent": lambda _: RequestFault(is_silent=True),
    "cut": lambda draw: RequestFault(cut_after=draw.randrange(1500)),
    "lost": lambda _: RequestFault(loses_request=True),
}
"""Faults that go away: the request is sent again."""
LASTING: dict[str, tuple[type[errors.FinetunerError], str]] = {
    "500": (errors.BadResponse, "status 500"),
    "502": (errors.ServerUnavailable, "status 502; try again"),
    "503": (errors.ServerUnavailable, "status 503; try again"),
    "429": (errors.RateLimited, "429, too many requests; try again"),
    "silent": (errors.ServerUnavailable, "no answer"),
    "cut": (errors.ServerUnavailable, "no answer"),
    "lost": (errors.ServerUnavailable, "no answer"),
}
GARBAGE: dict[str, tuple[RequestFault, str]] = {
    "not JSON": (remade(lambda _: b"<html>hello</html>"), "is not JSON; is this a Finetuner server"),
    "half of it": (remade(lambda page: orjson.dumps(page)[:-1]), "is not JSON"),
    "a list": (remade(lambda page: page["items"]), "is no JSON object"),
    "another shape": (remade(lambda _: {"runs": []}), "has no `items`; is this a Finetuner server"),
    "rows of another shape": (with_rows(lambda rows: [1, *rows[1:]]), "that is no run; is this"),
    "rows that are no runs": (with_rows(lambda rows: [{"seq": row["seq"]} for row in rows]), "that is no run; is this"),
    "rows twice": (with_rows(lambda rows: [rows[0], *rows]), "out of order; report this"),
    "rows in another order": (with_rows(lambda rows: rows[::-1]), "out of order; report this"),
    "a row that does not belong": (with_rows(lambda rows: [*rows, {**rows[-1], "seq": -5}]), "out of its span"),
    "total in words": (remade(lambda page: {**page, "total": "many"}), "are no numbers; is this"),
    "ranges of another shape": (remade(lambda page: {**page, "ranges": [[1]]}), "are no numbers; is this"),
    "next leads back": (remade(lambda page: {**page, "next": 10**9}), "leads back; report this"),
    "a stranger's": (RequestFault(spoil=nameless), "not as a Finetuner server does"),
}
Case = tuple[str, str, str]
"""How the fault ends, its name, and the face that meets it."""
CASES: list[Case] = [
    (kind, name, face)
    for kind, names in (("passing", PASSING), ("lasting", LASTING), ("garbage", GARBAGE))
    for name in names
    for face in ("list", "iter")
]


@attrs.define
class OneFails:
    """Fails one page: the first that is asked for, a plan, the last, or one between; once, or each time."""

    place: str
    fault: RequestFault
    is_lasting: bool
    draw: random.Random
    urls: list[bytes] = attrs.field(factory=list)
    hits: int = 0
    number: int = 0

    def __attrs_post_init__(self) -> None:
        self.number = {"first": 1, "last": PAGES}.get(self.place) or self.draw.randrange(2, PAGES)

    def __call__(self, head: bytes) -> RequestFault:
        url = head.split(b" ")[1]
        if not url.startswith(b"/api/v1/runs?"):
            return RequestFault()
        if url not in self.urls:
            self.urls.append(url)
        is_plan = b"from_seq" not in url and b"before_seq" in url
        is_it = is_plan if self.place == "plan" else url == self.urls[min(self.number, len(self.urls)) - 1]
        if not is_it or (self.place != "plan" and len(self.urls) < self.number) or (self.hits and not self.is_lasting):
            return RequestFault()
        self.hits += 1
        return self.fault


@attrs.frozen
class Asked:
    """Lets every request through, and keeps what was asked for."""

    urls: set[bytes] = attrs.field(factory=set)

    def __call__(self, head: bytes) -> RequestFault:
        self.urls.add(head.split(b" ")[1])
        return RequestFault()


def impatient(method: str, attempt: int, outcome: int | retry.NoAnswer, **more: Any) -> retry.Decision:
    """Decide as ever, but for how long a request is sent again; what is answered late is waited for all the same."""
    return retry.decide(method, attempt, outcome, **{**more, "budget_s": LASTING_S})


@attrs.frozen
class Listed:
    """A server with 64 pages of runs, behind a proxy."""

    service: Service
    proxy: RequestProxy
    ids: list[str]
    monkeypatch: pytest.MonkeyPatch

    async def fetch(self, client: AsyncClient, face: str) -> list[str]:
        if face == "list":
            return [run.id for run in await client.list_runs(name_prefix="run-")]
        # No `async with`: what fails leaves nothing, whoever reads it.
        return [run.id async for run in client.iter_runs(name_prefix="run-")]

    async def play(self, case: Case, place: str, draw: random.Random) -> str:
        kind, name, face = case
        fault = GARBAGE[name][0] if kind == "garbage" else PASSING[name](draw)
        fails = OneFails(place, fault, kind != "passing", draw)
        self.proxy.asks = fails
        self.monkeypatch.setattr(transport, "ATTEMPT_TIMEOUT_S", SILENCE_S if name == "silent" else LIMIT_S)
        self.monkeypatch.setattr(transport, "decide", impatient if kind == "lasting" else retry.decide)
        before = asyncio.all_tasks()
        said = ""
        async with AsyncClient(self.proxy.url, TOKEN, timeout_s=LIMIT_S) as client:
            if kind == "passing":
                assert await self.fetch(client, face) == self.ids
                assert len(fails.urls) == PAGES
            else:
                expected, words = LASTING[name] if kind == "lasting" else (errors.BadResponse, GARBAGE[name][1])
                with pytest.raises(errors.FinetunerError) as caught:
                    await self.fetch(client, face)
                said = str(caught.value)
                assert type(caught.value) is expected, repr(caught.value)
                assert words in said
                assert f"{self.proxy.url} " in said
                assert "GET /api/v1/runs?" in said
            assert fails.hits
            pool = client._transport._pools[False].connector
            assert pool is not None
            assert not pool._acquired, "a connection is still used"
            await self.nothing_is_left(before)
            self.proxy.asks = later = Asked()
            assert await client.count_runs()
            assert len(later.urls) == 1, f"a page was asked for after the error: {later.urls}"
        return said

    async def nothing_is_left(self, before: set[asyncio.Task[Any]]) -> None:
        """See that no task of the client goes on, and that the proxy's and the server's, who hear of it, end."""
        names = Counter(str(task.get_coro()).split()[2] for task in asyncio.all_tasks() - before)
        assert not [name for name in names if "AsyncRunIterator" in name], names
        async with asyncio.timeout(30):
            while self.proxy.open:  # noqa: ASYNC110 - the proxy notices when it reads next
                await asyncio.sleep(0.005)
        names = Counter(str(task.get_coro()).split()[2] for task in asyncio.all_tasks() - before)
        assert set(names) <= {"RequestHandler.start"}, names


@pytest.fixture
async def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Listed]:
    monkeypatch.setattr(listing, "Pager", functools.partial(paging.Pager, limit=ROWS))
    monkeypatch.setattr(paging, "MAX_BOUNDARIES", 21)  # so that there are several plans
    async with serving(starting_nothing(make_settings(tmp_path / "state"))) as service:
        await service.client.dataset()
        made = [(await service.client.run(name=f"run-{number}"))["id"] for number in range(PAGES * ROWS - 1)]
        async with RequestProxy(service.url) as proxy:
            yield Listed(service, proxy, made[::-1], monkeypatch)


@pytest.mark.counted
@pytest.mark.timeout(3600)
async def test_one_of_64_page_requests_fails(listed: Listed, scaled: Callable[[int], int]) -> None:
    seed = int(os.environ.get("FINETUNER_TEST_SEED", str(random.SystemRandom().randrange(10**6))))
    draw = random.Random(seed)  # noqa: S311 - faults and places of a test
    print(f"seed {seed}")
    played: Counter[str] = Counter()
    said: dict[str, str] = {}
    cases = draw.sample(CASES, len(CASES))
    for number in range(max(14, scaled(600))):
        case, place = cases[number % len(cases)], draw.choice(["first", "plan", "between", "last"])
        try:
            said[f"{case[0]}: {case[1]}"] = await listed.play(case, place, draw)
        except BaseException as error:
            error.add_note(f"case {number} of seed {seed}: {case}, at the {place} page")
            raise
        played[f"{case[0]}, {place}"] += 1
    for name, message in sorted(said.items()):
        print(f"{name}: {message}")
    print(f"{played.total()} lists of {PAGES} pages: {dict(played)}")
