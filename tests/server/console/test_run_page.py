from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pytest

from finetuner.server.console.table import PAGES
from finetuner.server.store import runs
from tests.server.console import scenes
from tests.server.console.many import HOSTILE, Visitor
from tests.server.serving import Client, Service

pytestmark = pytest.mark.anyio
PARTS = ("", "/logs", "/config", "/examples", "/artifact", "/cancel", "/delete")


def said(page: bytes) -> str:
    """Give the text of a page, as a person reads it."""
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.decode())))


async def look(visitor: Visitor, run: dict[str, Any], part: str = "") -> str:
    page = await visitor.get(f"/console/runs/{run['id']}{part}")
    assert page.status == 200, part
    return said(page.body)


async def test_a_run_shows_its_log_and_its_configuration(visitor: Visitor, quiet: Service) -> None:
    run = await scenes.started(quiet, name="mine", description="a try", tags=["nightly"])
    scenes.write_log(quiet, run, [f"line {number}" for number in range(100)])
    page = await look(visitor, run)
    for text in ("mine", "STARTED", "step 60 of 120", "loss 1.2500", "1 min 15 s left", "a try", "nightly", "cpu"):
        assert text in page, text
    assert "line 99" in page
    assert "line 84" not in page
    for text in ("MultipleNegativesRankingLoss", "all-minilm-l6-v2", "learning_rate", "batch_size 64"):
        assert text in page, text
    assert '"loss": "MultipleNegativesRankingLoss"' in await look(visitor, run, "/config")


async def test_a_failure_says_what_to_do(visitor: Visitor, quiet: Service) -> None:
    run = await scenes.failed(quiet, name="broken")
    page = await look(visitor, run)
    for text in ("FAILED", "ModelNotFound", "What to do: set", "Traceback"):
        assert text in page, text
    assert "left no artifact" in await look(visitor, run, "/artifact")
    assert "kept no examples" in await look(visitor, run, "/examples")


async def test_a_finished_run_shows_what_it_gained(visitor: Visitor, quiet: Service, tmp_path: Path) -> None:
    run = await scenes.finished(quiet, tmp_path, name="done")
    page = await look(visitor, run)
    assert "recall_at_1 0.3100 0.5900 +0.2800" in page
    assert "precision_at_k 0.2000 0.1000 -0.1000" in page
    body = (await visitor.get(f"/console/runs/{run['id']}")).body.decode()
    assert re.findall(r'class="old"[^>]*width="([\d.]+)%"', body) == ["31.0", "20.0", "50.0"]
    assert re.findall(r'class="new"[^>]*width="([\d.]+)%"', body) == ["59.0", "10.0", "100.0"]
    listed = said((await visitor.get("/console/")).body)
    assert "recall_at_1 0.3100 → 0.5900" in listed


async def test_a_metric_below_nothing_has_no_bar(visitor: Visitor, quiet: Service) -> None:
    run = await scenes.started(quiet, name="odd")
    async with quiet.database.write() as tx:
        await runs.apply_events(tx, run["id"], from_offset=1, to_offset=2, metrics={"after": {"gain": -0.5}})
    body = (await visitor.get(f"/console/runs/{run['id']}")).body.decode()
    assert re.findall(r'<rect[^>]*width="([^"]+)"', body) == ["0.0%", "0.0%"]
    assert "gain -0.5000" in said(body.encode())


async def test_examples_stand_side_by_side_and_in_pages(visitor: Visitor, quiet: Service, tmp_path: Path) -> None:
    run = await scenes.finished(quiet, tmp_path, name="done", queries=25)
    first = await look(visitor, run, "/examples")
    assert "query 0" in first
    assert "query 19" in first
    assert "query 20" not in first
    assert first.count("Before") == first.count("After") == 20
    assert "3 more" in first
    assert "✓ relevant" in first
    last = await look(visitor, run, "/examples?page=2")
    assert "query 24" in last
    assert "Page 2 of 2" in last
    assert "query 24" in await look(visitor, run, "/examples?page=99")


async def test_an_artifact_comes_with_the_code_that_uses_it(visitor: Visitor, quiet: Service, tmp_path: Path) -> None:
    run = await scenes.finished(quiet, tmp_path, name="done")
    page = await look(visitor, run, "/artifact")
    assert f'finetuner.get_model("{run["artifact_id"]}")' in page
    content = (tmp_path / "done.zip").read_bytes()
    assert "manifest.json 2 B" in page
    assert (
        f"/console/data/artifacts/{run['artifact_id']}"
        in (await visitor.get(f"/console/runs/{run['id']}/artifact")).body.decode()
    )
    download = await visitor.get(f"/console/data/artifacts/{run['artifact_id']}")
    assert (download.body, download.headers["Content-Type"]) == (content, "application/zip")
    assert 'filename="done.zip"' in download.headers["Content-Disposition"]


async def test_a_run_that_makes_data_is_shown_as_such(visitor: Visitor, quiet: Service, tmp_path: Path) -> None:
    run = await scenes.finished(quiet, tmp_path, name="made")
    await scenes.as_synthesis(quiet, run)
    page = await look(visitor, run)
    assert "generation" in page
    assert 'relation_miner ["all-minilm-l6-v2","sbert"]' in page
    assert "num_relations 10" in page
    assert "Loss" not in page.replace("MarginMSELoss", "")
    assert f'train_data="{run["artifact_id"]}"' in await look(visitor, run, "/artifact")
    assert "makes data" in await look(visitor, run, "/examples")


async def test_no_browser_keeps_what_a_session_is_needed_for(visitor: Visitor, quiet: Service, tmp_path: Path) -> None:
    run = await scenes.finished(quiet, tmp_path, name="done")
    known = {"/console/data/artifacts/{id}": f"/console/data/artifacts/{run['artifact_id']}"}
    for page in PAGES:
        if page.who == "user" and page.method == "GET":
            path = known.get(page.path, page.path).replace("{id}", run["id"])
            url = f"{quiet.url}{path}"
            async with visitor.session.get(url, headers=visitor.headers) as answer:
                assert answer.status in {200, 422}, page
                assert answer.headers["Cache-Control"] == "no-store", page
                assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin", page
                answer.close()


async def test_what_is_not_there_yet_is_said(visitor: Visitor, client: Client) -> None:
    run = await client.run()
    assert "next to start" in await look(visitor, run)
    assert "The log is empty so far" in await look(visitor, run, "/logs")
    assert "No examples yet" in await look(visitor, run, "/examples")
    assert run["artifact_id"] in await look(visitor, run, "/artifact")


async def test_cancel_and_delete_are_asked_about_once_more(visitor: Visitor, quiet: Service, client: Client) -> None:
    run = await client.run(name="mine")
    key = await visitor.form_key()
    path = f"/console/runs/{run['id']}"
    assert "Cancel mine?" in await look(visitor, run, "/cancel")
    assert (await client.call("run_get", id=run["id"])).json["status"] == "CREATED"
    done = await visitor.post(f"{path}/cancel", {"form_key": key})
    assert (done.status, done.headers["Location"]) == (303, path)
    assert (await client.call("run_get", id=run["id"])).json["details"] == "cancelled before it started"
    assert "has ended already" in await look(visitor, run, "/cancel")
    assert "cannot be undone" in await look(visitor, run, "/delete")
    done = await visitor.post(f"{path}/delete", {"form_key": key})
    assert (done.status, done.headers["Location"]) == (303, "/console/")
    assert (await visitor.get(path)).status == 404
    assert quiet.client.token == client.token


async def test_the_runs_of_others_do_not_exist(visitor: Visitor, quiet: Service) -> None:
    other = await quiet.other()
    await other.dataset()
    theirs = await other.run(name="theirs")
    known = {"{id}": theirs["id"], "{version}": "x", "{name:.+}": "x"}
    of_a_run = [page for page in PAGES if page.path.startswith(("/console/runs/", "/console/data/runs/"))]
    key = await visitor.form_key()
    for page in of_a_run:
        path = page.path.replace("{id}", known["{id}"])
        answer = await (visitor.get(path) if page.method == "GET" else visitor.post(path, {"form_key": key}))
        assert answer.status == 404, page
        assert b"theirs" not in answer.body
    assert (await visitor.get(f"/console/data/artifacts/{theirs['artifact_id']}")).status == 404
    assert (await visitor.get(f"/console/data/rows?id={theirs['id']}")).json == {"runs": []}
    assert (await other.call("run_get", id=theirs["id"])).json["status"] == "CREATED"


async def test_hostile_texts_are_texts_on_every_page(visitor: Visitor, quiet: Service, tmp_path: Path) -> None:
    done = await scenes.finished(quiet, tmp_path, name="done", queries=3)
    broken = await scenes.failed(quiet, name="broken")
    begun = await scenes.started(quiet, name="begun", description=HOSTILE, tags=["<b>bold</b>"])
    config = {"model": {"name": HOSTILE}, HOSTILE: HOSTILE, "callbacks": [{"name": HOSTILE, "options": {HOSTILE: 1}}]}
    await scenes.with_config(quiet, begun, config)
    long = "y" * 65_000
    for run in (done, broken, begun):
        scenes.write_log(quiet, run, [HOSTILE, long, "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")])
    seen = 0
    for run in (done, broken, begun):
        for part in (*PARTS, "/logs?q=script"):
            body = (await visitor.get(f"/console/runs/{run['id']}{part}")).body.decode()
            assert "<script>" not in body, part
            assert "<b>" not in body, part
            assert "<img src=x" not in body, part
            assert "\x1b" not in body, part
            assert "\u202e" not in body, part
            seen += body.count("&lt;script&gt;")
    assert seen > 20


async def test_a_configuration_of_another_shape_is_shown_all_the_same(visitor: Visitor, quiet: Service) -> None:
    run = await scenes.started(quiet, name="odd")
    config: dict[str, Any] = {
        "a": None,
        "b": [1, 2],
        "c": {},
        "d": [{"name": "x"}, {"y": [{"z": 1}]}],
        "e": [[]],
        "f": 1.5,
    }
    await scenes.with_config(quiet, run, config)
    assert "d: x" in await look(visitor, run)
    assert "b [1,2]" in await look(visitor, run, "/config")


@pytest.mark.parametrize(
    "odd",
    [
        [1, "two", None, {"query": None, "results": "none"}, {"results": [1, "a", None, {"score": "high"}, []]}],
        [{"query": {"text": ["a"], "label": {"b": 1}}, "results": [{"text": 5, "score": True, "relevant": "yes"}]}],
        [[], {}, [[]]],
    ],
)
async def test_examples_of_another_shape_are_shown_all_the_same(
    visitor: Visitor, quiet: Service, odd: list[Any]
) -> None:
    run = await scenes.started(quiet, name="odd")
    async with quiet.database.write() as tx:
        await runs.apply_events(tx, run["id"], from_offset=1, to_offset=2, examples={"before": odd, "after": odd})
    assert f"{len(odd)} example queries" in await look(visitor, run, "/examples")
