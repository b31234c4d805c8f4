from __future__ import annotations

import html
import re
from pathlib import Path

import aiohttp
import attrs
import pytest

from finetuner.server.console.assets import assets
from finetuner.server.console.table import PAGES
from finetuner.server.store import users
from tests.server.console import scenes
from tests.server.console.many import Visitor
from tests.server.serving import Client, Service, make_settings, serving, starting_nothing

pytestmark = pytest.mark.anyio
USER_PAGES = [page for page in PAGES if page.who == "user"]


def address(path: str) -> str:
    known = {"{id}": "0" * 24, "{version}": assets().version, "{name:.+}": "console.css"}
    for part, value in known.items():
        path = path.replace(part, value)
    return path


async def test_a_token_opens_the_console(stranger: Visitor) -> None:
    assert (await stranger.get("/")).headers["Location"] == "/console/"
    asked = await stranger.get("/console/?q=a&sort=name")
    assert (asked.status, asked.headers["Location"]) == (303, "/console/login?next=%2Fconsole%2F%3Fq%3Da%26sort%3Dname")
    form = await stranger.get(asked.headers["Location"])
    assert b'value="/console/?q=a&amp;sort=name"' in form.body
    fields = {"token": f" {stranger.client.token}\n", "next": "/console/?q=a&sort=name"}
    opened = await stranger.post("/console/login", fields)
    assert (opened.status, opened.headers["Location"]) == (303, "/console/?q=a&sort=name")
    cookie = opened.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/console"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert stranger.client.token not in cookie
    assert b"Log out" in (await stranger.get("/console/")).body


async def test_a_cookie_from_behind_tls_travels_by_tls_alone(stranger: Visitor) -> None:
    fields = {"token": stranger.client.token}
    opened = await stranger.post("/console/login", fields, **{"X-Forwarded-Proto": "https"})
    assert "Secure" in opened.headers["Set-Cookie"].split("; ")


@pytest.mark.parametrize("token", ["", "wrong", "\ud800", "é" * 5000])
async def test_a_wrong_token_opens_nothing(stranger: Visitor, token: str) -> None:
    answer = await stranger.post("/console/login", {"token": token.encode("utf-8", "replace").decode()})
    assert answer.status == 403
    assert b'role="alert"' in answer.body
    assert "Set-Cookie" not in answer.headers
    assert (await stranger.get("/console/")).status == 303


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"token=\xff\xfe", "application/x-www-form-urlencoded; charset=nonsense", 403),
        (b"&".join(b"a%d=1" % number for number in range(100)), "application/x-www-form-urlencoded", 422),
        (b"--x\r\njunk", "multipart/form-data; boundary=x", 422),
        (b'{"token": "a"}', "application/json", 422),
        (b"token=" + b"x" * 5_000_000, "application/x-www-form-urlencoded", 413),
    ],
)
async def test_what_is_no_form_is_refused(stranger: Visitor, body: bytes, kind: str, status: int) -> None:
    headers = {**stranger.headers, "Content-Type": kind}
    url = f"{stranger.client.url}/console/login"
    async with stranger.session.post(url, data=body, headers=headers) as answer:
        assert answer.status == status
        assert answer.content_type == "text/html"


async def test_every_page_of_a_user_needs_a_session(stranger: Visitor, client: Client) -> None:
    for page in USER_PAGES:
        path = address(page.path)
        answer = await (stranger.get(path) if page.method == "GET" else stranger.post(path, {}))
        if path.startswith("/console/data/"):
            assert (answer.status, answer.json["code"]) == (401, "not_logged_in"), page
        else:
            assert answer.status == 303, page
            assert answer.headers["Location"].startswith("/console/login"), page
        # The API's token opens no page: nothing that a browser adds by itself opens the API, nor the other way round.
        as_client = await client.ask(page.method, path)
        assert as_client.status in {303, 401}, page


async def test_no_cookie_opens_the_api(visitor: Visitor) -> None:
    assert (await visitor.get("/api/v1/runs")).status == 401


async def test_a_form_of_another_page_changes_nothing(visitor: Visitor) -> None:
    key = await visitor.form_key()
    for page in PAGES:
        if page.method != "POST":
            continue
        path = address(page.path)
        fields = {"form_key": key, "token": visitor.client.token}
        for site in ("cross-site", "same-site"):
            assert (await visitor.post(path, fields, **{"Sec-Fetch-Site": site})).status == 403, page
        if page.who == "user":
            assert (await visitor.post(path, {})).status == 403, page
            assert (await visitor.post(path, {"form_key": "guessed"})).status == 403, page
    assert (await visitor.get("/console/")).status == 200


async def test_who_logs_out_is_out(visitor: Visitor) -> None:
    [cookie] = [f"{one.key}={one.value}" for one in visitor.session.cookie_jar]
    assert (await visitor.post("/console/logout", {"form_key": await visitor.form_key()})).status == 303
    assert not list(visitor.session.cookie_jar)
    assert (await visitor.get("/console/", Cookie=cookie)).status == 303


async def test_a_session_ends_with_its_user(visitor: Visitor, quiet: Service) -> None:
    async with quiet.database.write() as tx:
        await users.set_disabled(tx, "local", disabled=True)
    assert (await visitor.get("/console/")).status == 303
    async with quiet.database.write() as tx:
        await users.set_disabled(tx, "local", disabled=False)
        await users.ensure_local(tx, token="another")
    assert (await visitor.get("/console/")).status == 303


async def test_a_ticket_opens_the_console_once(stranger: Visitor, client: Client) -> None:
    made = await client.call("console_ticket", {"next": "/console/?tag=a"})
    assert made.status == 201
    assert made.json["expires_s"] > 0
    opened = await stranger.get(made.json["path"], **{"Sec-Fetch-Site": "none"})
    assert (opened.status, opened.headers["Cache-Control"]) == (200, "no-store")
    assert b'content="0;url=/console/?tag=a"' in opened.body
    assert (await stranger.get("/console/?tag=a")).status == 200
    again = await stranger.get(made.json["path"])
    assert (again.status, b"used before" in again.body) == (403, True)


async def test_a_ticket_that_another_page_brings_is_asked_about(stranger: Visitor, client: Client) -> None:
    """Whoever made the link could otherwise have a user work as somebody else without a word."""
    path = (await client.call("console_ticket")).json["path"]
    asked = await stranger.get(path, **{"Sec-Fetch-Site": "cross-site"})
    assert "Set-Cookie" not in asked.headers
    found = re.search(rb'name="ticket" value="([^"]+)"', asked.body)
    assert found is not None
    fields = {"ticket": found[1].decode(), "next": "/console/?q=a"}
    assert (await stranger.post("/console/login", fields, **{"Sec-Fetch-Site": "cross-site"})).status == 403
    opened = await stranger.post("/console/login", fields)
    assert b'content="0;url=/console/?q=a"' in opened.body
    assert (await stranger.get("/console/")).status == 200
    assert (await stranger.post("/console/login", fields)).status == 403


async def test_a_ticket_leads_nowhere_else(client: Client) -> None:
    answer = await client.call("console_ticket", {"next": "https://evil.example/"})
    assert (answer.status, answer.json["errors"][0]["path"]) == (422, "$.next")


async def test_a_link_from_another_site_is_asked_for_again_by_a_page_of_this_one(stranger: Visitor) -> None:
    """A strict cookie does not come along with such a link, whoever is logged in."""
    answer = await stranger.get("/console/?q=a", **{"Sec-Fetch-Site": "cross-site"})
    assert answer.status == 200
    assert b'content="0;url=/console/?q=a"' in answer.body
    assert (await stranger.get("/console/?q=a")).status == 303


async def test_the_embedded_server_answers_to_its_own_names_alone(visitor: Visitor) -> None:
    port = visitor.client.url.rpartition(":")[2]
    for host in (f"localhost:{port}", f"[::1]:{port}"):
        assert (await visitor.get("/console/login", Host=host)).status == 200
    for host in (f"evil.example:{port}", "127.0.0.1.evil.example", "[::1"):
        for page in PAGES:
            if page.method == "GET":
                assert (await visitor.get(address(page.path), Host=host)).status in {400, 403}, page


async def test_two_users_see_their_own(stranger: Visitor, quiet: Service) -> None:
    await quiet.client.run(name="of-the-first")
    other = attrs.evolve(stranger, client=await quiet.other())
    assert (await other.log_in()).status == 303
    page = (await other.get("/console/")).body
    assert b"other" in page
    assert b"of-the-first" not in page


async def test_a_server_for_a_team_answers_under_any_name(tmp_path: Path) -> None:
    settings = starting_nothing(make_settings(tmp_path / "state", embedded=False, token=None))
    async with serving(settings) as team, aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        ada = await team.other("ada")
        visitor = Visitor(client=ada, session=session)
        form = await visitor.get("/console/login", Host="team.example")
        assert form.status == 200
        assert b"finetuner server user add" in form.body
        assert (await visitor.log_in()).status == 303
        assert b"ada" in (await visitor.get("/console/")).body
        await ada.dataset()
        run = await scenes.finished(attrs.evolve(team, client=ada), tmp_path, name="done")
        page = (await visitor.get(f"/console/runs/{run['id']}/artifact")).body.decode()
        assert f'finetuner.login(host="{team.url}")' in html.unescape(page)
