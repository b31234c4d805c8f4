"""The console in a real Chromium: with and without scripts, by mouse and by keyboard, live, in light and dark."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, Literal

import attrs
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, expect

from finetuner.server import keys
from finetuner.server.store import users
from tests.server.console import browsing, scenes
from tests.server.console.browsing import Tab, open_tab
from tests.server.console.many import HOSTILE, insert_runs
from tests.server.serving import Service, make_settings, serving, starting_nothing
from tests.server.test_scheduler import stop_runs, until

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("browser")]
MANY = 10_000
LINES = 1_000_000
SCHEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")
PARTS = ("", "/logs", "/config", "/examples", "/artifact", "/cancel", "/delete")

expect.set_options(timeout=browsing.PATIENCE_MS)

JOB = r"""
import json, os, time
from pathlib import Path
run_dir = Path(os.environ["FINETUNER_RUN_DIR"])
def tell(**event):
    os.write(int(os.environ["FINETUNER_EVENTS_FD"]), json.dumps({"t": time.time(), **event}).encode() + b"\n")
def until(name):
    while not (run_dir / name).exists():
        time.sleep(0.01)
print("the first line", flush=True)
tell(kind="progress", phase="training", step=25, steps=100, loss=2.0)
until("middle")
print("a line from the middle", flush=True)
tell(kind="progress", phase="training", step=50, steps=100, loss=1.0)
tell(kind="metrics", stage="before", values={"recall_at_1": 0.25})
tell(kind="metrics", stage="during", step=50, values={"val_loss": 1.5})
until("end")
tell(kind="metrics", stage="after", values={"recall_at_1": 0.75})
for number in range(3, 30_000):
    print("line", number, "x" * (number % 40))
print("the last line", flush=True)
"""


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@attrs.frozen(kw_only=True)
class Site:
    """A service with 10,000 runs and more, each kind of which has a name."""

    service: Service
    runs: dict[str, dict[str, Any]]

    def path(self, name: str, part: str = "") -> str:
        return f"/console/runs/{self.runs[name]['id']}{part}"


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with browsing.launched() as launched:
        yield launched


@pytest.fixture(scope="module")
async def site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    assert browser.is_connected()
    folder = tmp_path_factory.mktemp("site")
    async with serving(starting_nothing(make_settings(folder / "state"))) as service:
        await insert_runs(service.database, MANY)
        await service.client.dataset()
        made = {
            "finished": await scenes.finished(service, folder, name="finished-one", queries=25),
            "failed": await scenes.failed(service, name="failed-one"),
            "synthesis": await scenes.finished(service, folder, name="synthesis-one"),
            "waiting": await service.client.run(name="waiting-one"),
            "started": await scenes.started(
                service,
                name="started-one",
                description=f"Finds articles. {HOSTILE}",
                tags=["<i>nightly</i>"],
            ),
        }
        await scenes.as_synthesis(service, made["synthesis"])
        callbacks = [{"name": HOSTILE, "options": {"x": HOSTILE}}]
        config = {**made["started"]["config"], "note": HOSTILE, "callbacks": callbacks}
        await scenes.with_config(service, made["started"], config)
        lines = [f"line {number} says {number * 7}" for number in range(1, LINES + 1)]
        lines[-3:-1] = [HOSTILE, "z" * 65_000]
        scenes.write_log(service, made["started"], lines)
        for name in ("finished", "failed", "synthesis"):
            scenes.write_log(service, made[name], [f"{name} {number}" for number in range(40)] + [HOSTILE])
        for name in ("finished", "started"):
            scenes.write_events(service, made[name], events())
        yield Site(service=service, runs=made)


def events() -> list[dict[str, Any]]:
    """Give the events of a training of 120 steps."""
    steps = [
        {"kind": "progress", "phase": "training", "step": step, "steps": 120, "loss": 2.0 / (1 + step / 20)}
        for step in range(120)
    ]
    measured = [(step, {"val_loss": 0.5, "recall_at_1": step / 200, "<b>odd</b>": 1}) for step in (40, 80, 119)]
    points = [{"kind": "metrics", "stage": "during", "step": step, "values": values} for step, values in measured]
    return [{"kind": "metrics", "stage": "before", "values": {"recall_at_1": 0.1}}, *steps, *points]


@pytest.fixture
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    made = await browser.new_context(viewport={"width": 1280, "height": 800})
    yield made
    await made.close()


@pytest.fixture
async def tab(context: BrowserContext, site: Site) -> AsyncIterator[Tab]:
    """A tab that is logged in, and at whose end nothing was complained about."""
    made = await open_tab(context, site.service.url)
    await made.log_in()
    yield made
    assert not made.complaints


async def test_from_the_address_of_the_server_to_a_run(context: BrowserContext, site: Site) -> None:
    tab = await open_tab(context, site.service.url)
    page = tab.page
    await tab.go("/")
    await expect(page).to_have_url(f"{tab.url}/console/login?next=%2Fconsole%2F")
    await page.get_by_label("Token").fill("wrong")
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("alert")).to_contain_text("does not know this token")
    await page.get_by_label("Token").fill(site.service.client.token)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.locator("tr[data-id]")).to_have_count(50)
    await expect(page.get_by_label("Status").get_by_role("link", name="All")).to_contain_text("10,005")
    # A click anywhere in a row opens the run, with its log and its configuration.
    await click_at(tab, "tr:has-text('started-one') td:nth-child(5)")
    await expect(page).to_have_url(f"{tab.url}{site.path('started')}")
    await expect(page.locator("#last")).to_contain_text(f"line {LINES} says {LINES * 7}")
    await expect(page.get_by_text("MultipleNegativesRankingLoss")).to_be_visible()
    await page.get_by_role("button", name="Log out").click()
    await tab.go("/console/")
    await expect(page.get_by_label("Token")).to_be_visible()
    assert [one for one in tab.complaints if "403" not in one] == []


async def test_the_list_is_searched_filtered_ordered_and_paged(tab: Tab) -> None:
    page = tab.page
    rows = page.locator("tr[data-id]")
    await page.get_by_label("Name").fill("turing")
    await page.get_by_label("Order").select_option("name")
    await page.get_by_role("button", name="Show").click()
    await expect(page).to_have_url(re.compile("q=turing.*sort=name"))
    names = await page.locator("a.row").all_text_contents()
    assert names == sorted(names)
    assert all("turing" in name for name in names)
    await page.get_by_label("Status").get_by_role("link", name="FAILED").click()
    await expect(page.locator("tr[data-id] .status").first).to_have_text("FAILED")
    assert set(await page.locator("tr[data-id] .status").all_text_contents()) == {"FAILED"}
    assert all("turing" in name for name in await page.locator("a.row").all_text_contents())
    await page.go_back()
    assert await page.locator("a.row").all_text_contents() == names
    await page.get_by_role("link", name="Clear").click()
    await page.get_by_role("link", name="Next").click()
    await expect(page).to_have_url(re.compile("before="))
    await page.get_by_role("link", name="Last").click()
    await expect(rows.last).to_contain_text("-1")
    await page.get_by_role("link", name="Previous").click()
    await page.get_by_role("link", name="First").click()
    await expect(rows.first).to_contain_text("-one")
    await page.get_by_role("link", name="Duration").click()
    await expect(page.locator("th[aria-sort]")).to_contain_text("Duration")


async def test_hostile_texts_are_texts(tab: Tab, site: Site) -> None:
    page = tab.page
    for name in ("started", "failed", "finished"):
        for part in PARTS:
            await tab.go(site.path(name, part))
            if part == "/logs":
                await expect(page.locator("#view[data-ready]")).to_be_visible()
            assert "hacked" not in await page.title()
            assert await page.locator("img[src=x], main script, main b, main i").count() == 0
    await tab.go(site.path("started"))
    await expect(page.locator(".about")).to_contain_text(
        "<script>document.title='hacked'</script> \\x1b[31mred \\u202e"
    )
    await expect(page.locator(".tag")).to_have_text("<i>nightly</i>")
    await expect(page.locator("#last")).to_contain_text("<script>")
    await tab.go(site.path("started", "/logs"))
    shown = page.locator(".view .line", has_text="<script>")
    await expect(shown).to_contain_text("\\x1b[31mred \\u202etxt.exe")
    await expect(page.locator(".view .line", has_text="zzz")).to_contain_text("more characters: download the log")


async def is_filled(tab: Tab) -> bool:
    """Whether the window of a log shows lines from its top to its bottom."""
    script = """() => {
        const box = document.getElementById("view").getBoundingClientRect();
        const bottom = Math.min(box.bottom, innerHeight);
        return [box.top + 2, (box.top + bottom) / 2, bottom - 12].every(
            (y) => document.elementFromPoint(box.left + 40, y)?.closest(".view .line"));
    }"""
    return bool(await tab.page.evaluate(script))


async def test_a_million_lines_scroll(tab: Tab, site: Site) -> None:
    page = tab.page
    fetched: list[int] = []
    page.on("response", lambda response: fetched.append(int(response.headers.get("content-length", 0))))
    await tab.go(site.path("started", "/logs"))
    view = page.locator("#view[data-ready]")
    await expect(page.locator("#line-count")).to_have_text("1,000,000")
    last = page.locator(".view .line").last
    await expect(last).to_contain_text(f"line {LINES} says {LINES * 7}")
    await view.evaluate("view => view.scrollIntoView({block: 'end'})")
    await expect(last).to_be_in_viewport()
    assert await is_filled(tab)
    await view.focus()
    await page.keyboard.press("Home")
    await expect(page.locator(".view .line").first).to_have_text("1line 1 says 7")
    await expect(page.locator(".view .line").first).to_be_in_viewport()
    assert await is_filled(tab)
    for share in (0.1, 0.5, 0.9):
        await view.evaluate("(view, share) => { view.scrollTop = view.scrollHeight * share; }", share)
        near = re.compile(rf"^{int(LINES * share) // 1000}\d\d\d")
        await expect(page.locator(".view .line", has_text=near).first).to_be_visible()
        await expect(page.locator(".view .line[data-pending]")).to_have_count(0)
        assert await is_filled(tab)
        for text in await page.locator(".view .line").all_text_contents():
            number = text.partition("line")[0]
            assert text == f"{number}line {number} says {int(number) * 7}"
        assert await page.locator(".view .line").count() < 200
    await view.focus()
    top = await page.locator(".view .line").first.text_content()
    await page.keyboard.press("PageDown")
    await expect(page.locator(".view .line").first).not_to_have_text(top or "")
    await page.keyboard.press("/")
    await page.keyboard.type("LINE 777777 ")
    await page.keyboard.press("Enter")
    await expect(page.locator("#found")).to_have_text("1 of 1")
    await expect(page.locator(".line[data-at]")).to_have_text(f"777777line 777777 says {777777 * 7}")
    await expect(page.locator(".line[data-at]")).to_be_in_viewport()
    await tab.go(site.path("started", "/logs#L4321"))
    await expect(page.locator(".view .line", has_text=re.compile("^4321line"))).to_be_in_viewport()
    await expect(page.get_by_label("Follow")).not_to_be_checked()
    await page.get_by_label("Search the log").fill("line 99999")
    await page.keyboard.press("Enter")
    await expect(page.locator("#found")).to_have_text("1 of 9")
    await page.keyboard.press("Enter")
    await expect(page.locator(".line[data-at]")).to_contain_text("line 999990 ")
    await page.keyboard.press("Shift+Enter")
    await expect(page.locator("#found")).to_have_text("1 of 9")
    # It was read here and there, not as a whole.
    assert sum(fetched) < 3_000_000
    async with page.expect_download() as waited:
        await page.get_by_role("link", name="Download").click()
    download = await waited.value
    assert download.suggested_filename == "started-one.log"


async def test_a_log_that_has_no_line_yet_says_so(tab: Tab, site: Site) -> None:
    await tab.go(site.path("waiting", "/logs"))
    await expect(tab.page.locator("#empty")).to_be_visible()
    log = scenes.write_log(site.service, site.runs["waiting"], ["now"])
    await expect(tab.page.locator(".view .line")).to_have_text("1now")
    await expect(tab.page.locator("#empty")).to_be_hidden()
    log.unlink()


async def test_everything_is_done_by_keyboard(tab: Tab, site: Site) -> None:
    page = tab.page
    await tab.go("/console/")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_be_focused()

    async def tab_to(name: str) -> None:
        focused = page.locator("a:focus, button:focus", has_text=name)
        for _ in range(40):
            await page.keyboard.press("Tab")
            if await focused.count():
                return
        pytest.fail(f"Tab never reaches {name!r}")

    await tab_to("waiting-one")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="waiting-one")).to_be_visible()
    await tab_to("Cancel…")
    await page.keyboard.press("Enter")
    await tab_to("Go back")
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(f"{tab.url}{site.path('waiting')}")
    await tab_to("Configuration")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="As JSON")).to_be_visible()


async def test_a_run_is_cancelled_and_deleted(tab: Tab, site: Site) -> None:
    run = await site.service.client.run(name="short-lived")
    page = tab.page
    await tab.go(f"/console/runs/{run['id']}")
    await page.get_by_role("link", name="Cancel…").click()
    await page.get_by_role("button", name="Cancel the run").click()
    await expect(page.locator("#head .status")).to_have_text("FAILED")
    await expect(page.locator("#head")).to_contain_text("cancelled before it started")
    await expect(page.get_by_role("link", name="Cancel…")).to_have_count(0)
    await page.get_by_role("link", name="Delete…").click()
    await page.get_by_role("button", name="Delete the run").click()
    await expect(page).to_have_url(f"{tab.url}/console/")
    await expect(page.get_by_text("short-lived")).to_have_count(0)


async def test_the_artifact_is_downloaded_and_its_code_copied(context: BrowserContext, tab: Tab, site: Site) -> None:
    await context.grant_permissions(["clipboard-read", "clipboard-write"], origin=tab.url)
    page = tab.page
    await tab.go(site.path("finished", "/artifact"))
    async with page.expect_download() as waited:
        await page.get_by_role("link", name="Download").click()
    assert (await waited.value).suggested_filename == "finished-one.zip"
    await page.get_by_role("button", name="Copy").click()
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()
    code = await page.evaluate("navigator.clipboard.readText()")
    compile(code, "copied", "exec")
    assert site.runs["finished"]["artifact_id"] in code


async def test_the_losses_are_drawn(tab: Tab, site: Site) -> None:
    page = tab.page
    await tab.go(site.path("finished"))
    await expect(page.locator("#loss canvas")).to_be_visible()
    said = re.compile(r"loss 2\.000 at step 0, 0\.2878 at step 119")
    await expect(page.locator("#loss")).to_have_attribute("aria-label", said)
    await expect(page.locator("#loss .u-legend")).to_contain_text("val_loss")
    await expect(page.locator("#during .u-legend")).to_contain_text("recall_at_1")
    # What was measured before the first step is where the series begins.
    await expect(page.locator("#during .u-legend")).to_contain_text("<b>odd</b>")
    said = re.compile(r"recall_at_1 0\.1000 at step 0, 0\.5950 at step 119")
    await expect(page.locator("#during")).to_have_attribute("aria-label", said)


async def test_list_configuration_and_log_need_no_script(browser: Browser, site: Site) -> None:
    context = await browser.new_context(java_script_enabled=False)
    try:
        tab = await open_tab(context, site.service.url)
        page = tab.page
        await tab.go("/console/login?next=/console/?q=one")
        await page.get_by_label("Token").fill(site.service.client.token)
        await page.get_by_role("button", name="Log in").click()
        await expect(page).to_have_url(f"{tab.url}/console/?q=one")
        await page.get_by_label("Name").fill("started-o")
        await page.get_by_role("button", name="Show").click()
        await expect(page.locator("tr[data-id]")).to_have_count(1)
        await click_at(tab, "tr[data-id] td:nth-child(3)")
        await expect(page.locator("#last")).to_contain_text(f"line {LINES} says")
        await page.get_by_role("link", name="Configuration").click()
        await expect(page.locator("#raw")).to_contain_text('"loss": "MultipleNegativesRankingLoss"')
        await page.get_by_role("link", name="Logs").click()
        await expect(page.locator(f"#L{LINES}")).to_have_text(f"{LINES}line {LINES} says {LINES * 7}")
        await page.get_by_role("link", name="Earlier").click()
        await page.get_by_role("link", name="Start").click()
        await expect(page.locator("#L1")).to_have_text("1line 1 says 7")
        await page.get_by_label("Search the log").fill("line 777777")
        await page.get_by_role("button", name="Search").click()
        await page.locator("a.line").click()
        await expect(page.locator("#L777777:target")).to_contain_text("line 777777 says")
        run = await site.service.client.run(name="without-script")
        await tab.go(f"/console/runs/{run['id']}")
        await page.get_by_role("link", name="Delete…").click()
        await page.get_by_role("button", name="Delete the run").click()
        await expect(page).to_have_url(f"{tab.url}/console/")
        assert not tab.complaints
    finally:
        await context.close()


async def test_a_real_run_is_followed_live(context: BrowserContext, tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "state", job_argv=(sys.executable, "-c", JOB), slots=1, grace_s=1.0)
    try:
        async with serving(settings) as service:
            await service.client.dataset()
            try:
                await follow_live(context, service)
            finally:
                # A stream that is still followed would keep the service from ending.
                for page in context.pages:
                    await page.close()
    finally:
        stop_runs(settings.runs_dir)


async def follow_live(context: BrowserContext, service: Service) -> None:
    listed, shown, logged = [await open_tab(context, service.url) for _ in range(3)]
    await listed.log_in()
    await expect(listed.page.get_by_text("No run yet")).to_be_visible()
    run = await service.client.run(name="live-one")
    await expect(listed.page.get_by_role("link", name="1 new run: show it")).to_be_visible()
    await listed.page.get_by_role("link", name="1 new run: show it").click()
    row = listed.page.locator("tr[data-id]")
    await expect(row.locator(".status")).to_have_text("STARTED")
    await expect(row).to_contain_text("step 25 of 100 · loss 2.0000")
    await expect(row.locator("progress")).to_have_attribute("value", re.compile(r"25(\.0)?"))

    await shown.go(f"/console/runs/{run['id']}")
    await expect(shown.page.locator("#last")).to_contain_text("the first line")
    await logged.go(f"/console/runs/{run['id']}/logs")
    await expect(logged.page.locator(".view .line")).to_have_text(["1the first line"])
    (service.settings.runs_dir / run["id"] / "middle").touch()
    await expect(row).to_contain_text("step 50 of 100 · loss 1.0000")
    await expect(shown.page.locator("#head")).to_contain_text("step 50 of 100")
    await expect(shown.page.locator("#last")).to_contain_text("a line from the middle")
    await expect(shown.page.locator("#loss .u-legend")).to_contain_text("val_loss")
    await expect(shown.page.locator("#metrics")).to_contain_text("recall_at_10.2500")
    await expect(logged.page.locator(".view .line").last).to_have_text("2a line from the middle")

    await turn_away(logged, is_hidden=True)
    await until(lambda: no_streams_of_logs(service))
    (service.settings.runs_dir / run["id"] / "end").touch()
    await expect(row.locator(".status")).to_have_text("FINISHED")
    await expect(row).to_contain_text("recall_at_1 0.2500 → 0.7500")
    await expect(listed.page.get_by_label("Status").get_by_role("link", name="FINISHED")).to_contain_text("1")
    await expect(shown.page.locator("#metrics")).to_contain_text("+0.5000")
    await expect(shown.page.get_by_role("link", name="The run has ended")).to_be_visible()
    await expect(shown.page.locator("[data-part=finished]")).to_contain_text(":")
    await expect(shown.page.get_by_role("link", name="Cancel…")).to_have_count(0)
    await expect(logged.page.locator(".view .line")).to_have_count(2)
    await turn_away(logged, is_hidden=False)
    await expect(logged.page.locator("#line-count")).to_have_text("30,000")
    await expect(logged.page.locator(".view .line").last).to_have_text("30000the last line")
    await expect(logged.page.locator("#head .status")).to_have_text("FINISHED")
    await logged.page.locator("#view").evaluate("view => { view.scrollTop = 20 * 15_000; }")
    line = logged.page.locator(".view .line", has_text=re.compile("^15010line"))
    await expect(line).to_have_text(f"15010line 15010 {'x' * (15_010 % 40)}")
    for tab in (listed, shown, logged):
        assert not tab.complaints
    assert len(shown.streams) == 1
    await service.client.call("run_delete", id=run["id"])
    await expect(row.locator(".status")).to_have_text("DELETED")


async def turn_away(tab: Tab, *, is_hidden: bool) -> None:
    """Do as a browser does when another tab is turned to, or this one again."""
    script = "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true}); "
    await tab.page.evaluate(script + "document.dispatchEvent(new Event('visibilitychange')); }", is_hidden)


async def click_at(tab: Tab, selector: str) -> None:
    """Click where something is, whatever lies above it."""
    box = await tab.page.locator(selector).bounding_box()
    assert box is not None
    await tab.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


async def no_streams_of_logs(service: Service) -> bool:
    return len(service.app[keys.HUB].logs) == 0


async def test_a_list_that_is_too_old_says_so(tab: Tab, site: Site) -> None:
    """A cursor that the server forgot is no endless try."""
    page = tab.page
    await page.route("**/console/data/events*", lambda route: route.fulfill(status=410, body="{}"))
    await tab.go("/console/")
    await expect(page.get_by_role("link", name="no longer up to date")).to_be_visible()
    tab.complaints.clear()
    assert site.service.url == tab.url


async def test_a_session_that_ends_leads_to_the_login(tab: Tab, site: Site) -> None:
    page = tab.page
    async with site.service.database.write() as tx:
        await users.set_disabled(tx, "local", disabled=True)
    try:
        await page.get_by_role("link", name="Next").click()
        await expect(page.get_by_label("Token")).to_be_visible()
    finally:
        async with site.service.database.write() as tx:
            await users.set_disabled(tx, "local", disabled=False)
    await page.get_by_label("Token").fill(site.service.client.token)
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile("before="))
    tab.complaints[:] = [one for one in tab.complaints if "401" not in one]


async def test_no_page_is_hard_to_use(tab: Tab, site: Site) -> None:
    paths = {
        "runs": "/console/",
        "runs-waiting": "/console/?status=CREATED&sort=name",
        "runs-none": "/console/?q=nobody",
        "nothing": "/console/nothing",
        "started": site.path("started"),
        "started-logs": site.path("started", "/logs"),
        "started-config": site.path("started", "/config"),
        "started-examples": site.path("started", "/examples"),
        "started-cancel": site.path("started", "/cancel"),
        "started-delete": site.path("started", "/delete"),
        "finished": site.path("finished"),
        "finished-examples": site.path("finished", "/examples?page=2"),
        "finished-artifact": site.path("finished", "/artifact"),
        "failed": site.path("failed"),
        "failed-logs": site.path("failed", "/logs?q=failed"),
        "waiting-logs": site.path("waiting", "/logs"),
        "synthesis": site.path("synthesis"),
        "synthesis-artifact": site.path("synthesis", "/artifact"),
        "login": "/console/login",
    }
    for name, path in paths.items():
        await tab.go(path)
        if name.endswith("-logs"):
            await expect(tab.page.locator("#view[data-ready]")).to_be_visible()
        elif name in {"started", "finished"}:
            await expect(tab.page.locator("#loss canvas")).to_be_visible()
        for scheme in SCHEMES:
            await tab.page.emulate_media(color_scheme=scheme)
            await check(tab, f"{name}-{scheme}")
    tab.complaints[:] = [one for one in tab.complaints if "404" not in one]


async def check(tab: Tab, name: str) -> None:
    """Look a page over as axe does, and keep a picture of it where one is asked for."""
    found = await Axe().run(tab.page)
    told = [
        f"{one['id']}: {one['help']}: {node['html']}" for one in found.response["violations"] for node in one["nodes"]
    ]
    assert not told, f"{name}: " + "\n".join(told)
    if folder := os.environ.get(browsing.SCREENSHOTS):
        Path(folder).mkdir(parents=True, exist_ok=True)
        await tab.page.screenshot(path=Path(folder) / f"{name}.png")


def test_a_missing_browser_is_said_with_what_installs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert browsing.chromium("/nowhere") is None
    assert "apt-get install -y chromium" in browsing.ADVICE
