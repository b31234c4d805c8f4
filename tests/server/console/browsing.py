"""A real Chromium for tests, where there is one."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, Request, async_playwright

from tests.server.serving import TOKEN

REQUIRED: Final = "FINETUNER_TEST_REQUIRE_BROWSER"
"""Set to 1, a missing browser is an error and no skip."""
SCREENSHOTS: Final = "FINETUNER_TEST_SCREENSHOTS"
"""Names a folder that the pages' pictures are written to."""
ADVICE: Final = "no Chromium here: `apt-get install -y chromium`, or `python -m playwright install chromium`"
FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS: Final = 60_000


def chromium(own: str) -> str | None:
    """Give the system's Chromium, or else Playwright's own."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    return found or (own if Path(own).exists() else None)


@asynccontextmanager
async def launched() -> AsyncIterator[Browser]:
    """Start a browser; where there is none, the tests that need it are skipped, or fail."""
    async with async_playwright() as playwright:
        browser = await _launch(playwright)
        try:
            yield browser
        finally:
            await browser.close()


async def _launch(playwright: Playwright) -> Browser:
    path = chromium(playwright.chromium.executable_path)
    if path is None:
        if os.environ.get(REQUIRED) == "1":
            pytest.fail(ADVICE)
        pytest.skip(ADVICE)
    return await playwright.chromium.launch(executable_path=path, args=list(FLAGS))


@attrs.define(kw_only=True, eq=False)
class Tab:
    """One tab, which notes everything that a page should not do."""

    page: Page
    url: str
    complaints: list[str] = attrs.field(factory=list)
    """Errors, refusals of the content security policy, and dialogs."""
    streams: list[str] = attrs.field(factory=list)
    """The event streams that were opened."""

    async def go(self, path: str) -> None:
        """Open a page."""
        await self.page.goto(f"{self.url}{path}")

    async def log_in(self) -> None:
        """Log in as the service's user."""
        await self.go("/console/login")
        await self.page.get_by_label("Token").fill(TOKEN)
        await self.page.keyboard.press("Enter")
        await self.page.wait_for_url(f"{self.url}/console/")


async def open_tab(context: BrowserContext, url: str) -> Tab:
    """Open a tab."""
    page = await context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.set_default_navigation_timeout(PATIENCE_MS)
    tab = Tab(page=page, url=url)

    def on_console(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            tab.complaints.append(message.text)

    async def on_dialog(dialog: Any) -> None:
        tab.complaints.append(f"a dialog: {dialog.message}")
        await dialog.dismiss()

    def on_request(request: Request) -> None:
        if request.resource_type == "eventsource":
            tab.streams.append(request.url)

    page.on("console", on_console)
    page.on("pageerror", lambda error: tab.complaints.append(str(error)))
    page.on("dialog", on_dialog)
    page.on("request", on_request)
    return tab
