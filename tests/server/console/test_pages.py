from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from aiohttp import web

from finetuner.server import console
from finetuner.server.console import guard, table
from finetuner.server.console.assets import assets
from tests.server.console.many import HOSTILE, Visitor

pytestmark = pytest.mark.anyio
FOLDER = Path(console.__file__).parent


async def test_errors_are_pages_for_people_and_json_for_programs(visitor: Visitor) -> None:
    for path in ("/console/nothing", "/nothing", "/console/runs/" + "f" * 24):
        page = await visitor.get(path)
        assert (page.status, page.headers["Content-Type"]) == (404, "text/html; charset=utf-8"), path
        assert b"There is no such page" in page.body
    for path in ("/api/v1/nothing", "/console/data/nothing", "/console/static/0/nothing.js"):
        assert (await visitor.get(path)).json["code"] == "not_found"
    assert (await visitor.get("/nothing", Accept="application/json")).json["code"] == "not_found"
    wrong = await visitor.post("/console/", {})
    assert wrong.status == 405
    assert "GET" in wrong.headers["Allow"]


async def test_a_fault_is_told_without_its_inside(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_: web.Request) -> None:
        raise RuntimeError("the inside")

    monkeypatch.setattr(guard, "identify", broken)
    page = await visitor.get("/console/")
    assert page.status == 500
    assert b"the inside" not in page.body
    assert page.headers["X-Request-Id"].encode() in page.body


async def test_every_page_keeps_strange_code_out(visitor: Visitor) -> None:
    for path in ("/console/", "/console/login", "/console/nothing"):
        headers = (await visitor.get(path)).headers
        policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"


async def test_no_page_needs_what_the_policy_forbids() -> None:
    for path in FOLDER.glob("templates/*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|\|\s*safe\b|<script(?![^>]*\ssrc=)", text), path
    for path in FOLDER.glob("static/*.js"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            path
        )


async def test_what_the_address_says_is_text(visitor: Visitor) -> None:
    for path in (
        "/console/?q=",
        "/console/?tag=",
        "/console/?experiment=",
        "/console/login?next=",
        "/console/nothing/",
    ):
        page = await visitor.get(path + HOSTILE.replace(" ", "%20").replace("\x1b", "%1B"))
        assert b"<script>" not in page.body, path
        assert b"<img" not in page.body.replace(b'<img src="/console/static/', b""), path


async def test_files_are_kept_for_good_under_a_name_that_changes_with_them(visitor: Visitor) -> None:
    page = (await visitor.get("/console/")).body.decode()
    linked = set(re.findall(r'(?:href|src)="(/console/static/[^"]+)"', page))
    assert len(linked) >= 3
    for path in linked:
        answer = await visitor.get(path)
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "public, immutable, max-age=31536000")
        assert answer.headers["Content-Type"].split(";")[0] in {"text/css", "text/javascript", "image/svg+xml"}
    assert (await visitor.get("/console/static/0000000000000000/console.css")).status == 404
    assert (await visitor.get(f"/console/static/{assets().version}/../pages.py")).status in {403, 404}


async def test_every_file_is_linked_or_imported() -> None:
    texts = [path.read_text(encoding="utf-8") for path in FOLDER.rglob("*") if path.suffix in {".html", ".js"}]
    unused = [
        name
        for name in assets().files
        if "vendor" not in name and not any(name.rpartition("/")[2] in text for text in texts)
    ]
    assert not unused


async def test_the_library_is_the_one_that_its_notice_names() -> None:
    folder = FOLDER / "static/vendor/uplot"
    notice = (folder / "SOURCE.md").read_text(encoding="utf-8")
    named = dict(re.findall(r"`([\w.]+)` \| `([0-9a-f]{64})`", notice))
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.suffix != ".md"
    }
    assert named == files
    assert "MIT License" in (folder / "LICENSE").read_text(encoding="utf-8")


async def test_no_page_is_there_twice() -> None:
    named = [(page.method, page.path) for page in table.PAGES]
    assert len(named) == len(set(named))


async def test_every_page_is_in_the_docs() -> None:
    text = (Path(__file__).parents[3] / "docs/console.md").read_text(encoding="utf-8")
    named = {path.replace("{id}", "ID") for path in (page.path for page in table.PAGES if page.who == "user")}
    for path in named - {"/console/logout"}:
        is_whole = f"`{path}`" in text or f"`...{path.removeprefix('/console/runs/ID')}`" in text
        assert is_whole or path.startswith("/console/data/"), path
