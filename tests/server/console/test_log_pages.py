from __future__ import annotations

import html
import re

import pytest

from tests.server.console import scenes
from tests.server.console.many import Visitor
from tests.server.serving import Service

pytestmark = pytest.mark.anyio
LINES = [f"line {number} " + "x" * (number % 50) for number in range(1, 10_001)]


def shown(page: bytes) -> list[tuple[int, str]]:
    found = re.findall(r'<span class="no">(\d+)</span><span class="what">([^<]*)</span>', page.decode())
    return [(int(number), html.unescape(text)) for number, text in found]


def links(page: bytes) -> dict[str, str]:
    found = re.findall(r'<a class="button" href="([^"]+)">([^<]+)</a>', page.decode())
    return {label: html.unescape(path) for path, label in found}


@pytest.fixture
async def path(visitor: Visitor, quiet: Service) -> str:
    run = await scenes.started(quiet, name="talkative")
    scenes.write_log(quiet, run, LINES)
    assert visitor.client.url == quiet.url
    return f"/console/runs/{run['id']}/logs"


async def test_a_log_opens_at_its_end_and_can_be_walked_through(visitor: Visitor, path: str) -> None:
    page = (await visitor.get(path)).body
    assert shown(page)[-1] == (10_000, LINES[-1])
    assert "Later" not in links(page)
    walked = shown(page)
    while "Earlier" in links(page):
        page = (await visitor.get(links(page)["Earlier"])).body
        walked = shown(page) + walked
    assert walked == list(enumerate(LINES, 1))
    assert shown((await visitor.get(links(page)["End"])).body)[-1][0] == 10_000
    assert shown((await visitor.get(links(page)["Later"])).body)[0][0] == len(shown(page)) + 1


async def test_a_search_leads_to_its_lines(visitor: Visitor, path: str) -> None:
    found = (await visitor.get(f"{path}?q=LINE%2077")).body
    numbers = [number for number, _ in shown(found)]
    assert numbers == [number for number, line in enumerate(LINES, 1) if "line 77" in line]
    target = re.findall(r'<a class="line" href="([^"#]+)#L(\d+)"', found.decode())[-1]
    page = (await visitor.get(html.unescape(target[0]))).body
    assert f'id="L{target[1]}"'.encode() in page
    assert b"No line has" in (await visitor.get(f"{path}?q=nowhere")).body


async def test_a_search_with_many_matches_goes_on(visitor: Visitor, path: str) -> None:
    page = (await visitor.get(f"{path}?q=line")).body
    numbers = [number for number, _ in shown(page)]
    for _ in range(3):
        page = (await visitor.get(links(page)["Go on searching"])).body
        numbers += [number for number, _ in shown(page)]
    assert numbers == list(range(1, 801))


@pytest.mark.parametrize("query", ["at=999999999999", "at=-1", "at=x", "at=", "q=&at=5", "q=%00", "q=" + "a" * 5000])
async def test_an_odd_address_shows_the_log_all_the_same(visitor: Visitor, path: str, query: str) -> None:
    assert (await visitor.get(f"{path}?{query}")).status == 200


async def test_a_script_finds_every_line_by_its_bytes(visitor: Visitor, path: str) -> None:
    data = path.replace("/console/runs/", "/console/data/runs/").removesuffix("/logs")
    index = (await visitor.get(f"{data}/lines")).json
    assert (index["count"], index["status"]) == (10_000, "STARTED")
    ends = [*index["offsets"][1:], index["end"]]
    assert len(ends) > 3
    lines: list[str] = []
    for start, end, first in zip(index["offsets"], ends, index["lines"], strict=True):
        assert len(lines) == first
        part = await visitor.get(f"{data}/logs", Range=f"bytes={start}-{end - 1}")
        assert part.status == 206
        lines += part.body.decode().split("\n")[:-1]
    assert lines == LINES
    more = (await visitor.get(f"{data}/lines?known=2")).json
    assert more["offsets"] == index["offsets"][2:]


async def test_a_script_is_told_which_lines_have_a_text(visitor: Visitor, path: str) -> None:
    data = path.replace("/console/runs/", "/console/data/runs/").removesuffix("/logs")
    found = (await visitor.get(f"{data}/search?q=Line%2077")).json
    assert found == {"lines": [number - 1 for number, line in enumerate(LINES, 1) if "line 77" in line], "next": None}
    assert (await visitor.get(f"{data}/search?q=")).status == 422


async def test_a_log_that_grows_is_seen_to_grow(visitor: Visitor, quiet: Service) -> None:
    run = await scenes.started(quiet, name="growing")
    log = scenes.write_log(quiet, run, ["one"])
    path = f"/console/runs/{run['id']}/logs"
    assert shown((await visitor.get(path)).body) == [(1, "one")]
    with log.open("a") as file:
        file.write("two\nthr")
    assert shown((await visitor.get(path)).body) == [(1, "one"), (2, "two")]
