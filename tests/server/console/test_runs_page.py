from __future__ import annotations

import html
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict
from yarl import URL

from finetuner.api.types import RunStatus, Task
from finetuner.server.console.listquery import SORTS, ListQuery
from finetuner.server.store import runs
from finetuner.server.store.tables import RUNS
from tests.server.console.many import HOSTILE, Visitor, insert_runs
from tests.server.serving import Client, Service

pytestmark = pytest.mark.anyio


def names(page: bytes) -> list[str]:
    return re.findall(r'class="row" href="[^"]+">([^<]+)<', page.decode())


def links(page: bytes) -> dict[str, str]:
    found = re.findall(r'<a class="button" href="([^"]+)"[^>]*>(\w+)</a>', page.decode())
    return {label: html.unescape(path) for path, label in found}


async def walk(visitor: Visitor, path: str, label: str) -> list[str]:
    """Follow one link from page to page, and give all names in their order."""
    found: list[str] = []
    for _ in range(50):
        page = (await visitor.get(path)).body
        found += names(page)
        if label not in links(page):
            return found
        path = links(page)[label]
    raise AssertionError("the pages have no end")


async def test_a_new_user_is_told_how_to_begin(visitor: Visitor) -> None:
    assert b"No run yet" in (await visitor.get("/console/")).body
    assert b"No run is like that" in (await visitor.get("/console/?q=x")).body


async def test_a_run_is_listed_with_what_it_does(visitor: Visitor, client: Client, quiet: Service) -> None:
    first, second = [await client.run(name=name, tags=["a tag"], experiment="night") for name in ("one", "two")]
    async with quiet.database.write() as tx:
        await runs.started(tx, first["id"], "cpu")
    page = (await visitor.get("/console/")).body.decode()
    assert names(page.encode()) == ["two", "one"]
    assert f'href="/console/runs/{second["id"]}"' in page
    for said in ("STARTED", "CREATED", "night", "a tag", "next to start", "starting"):
        assert said in page


@pytest.mark.parametrize("sort", SORTS)
async def test_pages_give_each_run_once(visitor: Visitor, quiet: Service, sort: str) -> None:
    rows = await insert_runs(quiet.database, 120)
    found = await walk(visitor, f"/console/?sort={sort}", "Next")
    assert sorted(found) == sorted(row["name"] for row in rows)
    if sort in {"newest", "oldest"}:
        assert found == [row["name"] for row in rows][:: -1 if sort == "newest" else 1]
    if sort == "name":
        assert found == sorted(found)
    last = links((await visitor.get(f"/console/?sort={sort}")).body)["Last"]
    page = (await visitor.get(last)).body
    assert "Next" not in links(page)
    assert names(page)[-1] == found[-1]
    first = (await visitor.get(links(page)["Previous"])).body
    assert names((await visitor.get(links(page)["First"])).body) == found[:50]
    assert set(names(first)) & set(found)


async def test_runs_that_are_deleted_between_two_pages_hide_no_other(visitor: Visitor, quiet: Service) -> None:
    rows = await insert_runs(quiet.database, 120)
    newest = [row["name"] for row in rows][::-1]
    page = (await visitor.get("/console/")).body
    async with quiet.database.write() as tx:
        await runs.delete_where(tx, RUNS.c.name.in_(newest[:30]))
    second = (await visitor.get(links(page)["Next"])).body
    assert names(second) == newest[50:100]
    # Before it are 20 runs where there were 50: the first page is given whole.
    assert names((await visitor.get(links(second)["Previous"])).body) == newest[30:80]


async def test_filters_are_those_of_the_address(visitor: Visitor, quiet: Service) -> None:
    rows = await insert_runs(quiet.database, 300)
    looks: dict[str, Any] = {
        "q=TURING": lambda row: "turing" in row["name"],
        "status=FAILED": lambda row: row["status"] == "FAILED",
        "tag=nightly": lambda row: "nightly" in row["tags"],
        "task=generation": lambda row: row["task"] == "generation",
        "q=ing&status=FINISHED&task=training": lambda row: (
            "ing" in row["name"] and row["status"] == "FINISHED" and row["task"] == "training"
        ),
    }
    for query, look in looks.items():
        expected = [row["name"] for row in reversed(rows) if look(row)]
        assert expected
        assert await walk(visitor, f"/console/?{query}", "Next") == expected, query
    everything = [
        name
        for one in ("default", "night", "support")
        for name in await walk(visitor, f"/console/?experiment={one}", "Next")
    ]
    assert sorted(everything) == sorted(row["name"] for row in rows)


async def test_counts_are_by_status_whatever_status_is_shown(visitor: Visitor, quiet: Service) -> None:
    rows = await insert_runs(quiet.database, 100)
    failed = sum(row["status"] == "FAILED" for row in rows)
    page = (await visitor.get("/console/?status=FINISHED")).body.decode()
    shown = dict(re.findall(r'data-count="(\w*)">([\d,]+)<', page))
    assert shown == {"": "100", "CREATED": "0", "STARTED": "0", "FINISHED": str(100 - failed), "FAILED": str(failed)}
    counted = (await visitor.get("/console/data/counts?status=FINISHED")).json["counts"]
    assert counted == {name: int(number) for name, number in shown.items() if name}


async def test_hostile_text_in_a_list_is_text(visitor: Visitor, client: Client, quiet: Service) -> None:
    made = await client.run(tags=["<script>alert(1)</script>"])
    async with quiet.database.write() as tx:
        await runs.set_details(tx, made["id"], HOSTILE)
    page = (await visitor.get("/console/")).body.decode()
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "\\x1b[31m" in page


async def test_rows_for_live_updates_are_the_users_own(visitor: Visitor, client: Client, quiet: Service) -> None:
    made = await client.run()
    asked = f"/console/data/rows?id={made['id']}&id={'f' * 24}&id=nonsense"
    [row] = (await visitor.get(asked)).json["runs"]
    assert (row["id"], row["status"], row["text"]) == (made["id"], "CREATED", "next to start")
    assert quiet.client.token == client.token


def test_a_query_that_makes_no_sense_is_the_first_page() -> None:
    odd = MultiDict(
        [("status", "DONE"), ("sort", "x"), ("before", "-1"), ("page", "0"), ("after", "9" * 40), ("task", "")]
    )
    assert ListQuery.read(odd) == ListQuery()


@given(
    q=st.text(max_size=20).map(str.strip),
    tag=st.text(max_size=20).map(str.strip),
    status=st.sampled_from([None, *RunStatus]),
    task=st.sampled_from([None, *Task]),
    sort=st.sampled_from(SORTS),
    before=st.none() | st.integers(0, 10**14),
    page=st.integers(1, 10**6),
)
def test_an_address_says_all_that_a_query_holds(**values: Any) -> None:
    query = ListQuery(**values)
    url = URL(query.url(before=query.before, page=query.page))
    assert ListQuery.read(url.query) == query
