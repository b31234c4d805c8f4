"""Every page of the console, once, with who may see it and what its request must show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import attrs
from aiohttp import web
from aiohttp.typedefs import Handler

from finetuner.server.console import assets, guard, pages
from finetuner.server.console.views import login, runs
from finetuner.server.handlers import changes


@attrs.frozen
class Page:
    """One address of the console.

    Attributes:
        method: HTTP method; POST changes something, and comes from a form of this session.
        path: Template.
        who: `anyone`, or `user`: whoever has a session, and then only for what is theirs.
        handler: What answers.
    """

    method: Literal["GET", "POST"]
    path: str
    who: Literal["anyone", "user"]
    handler: Handler


async def _home(_: web.Request) -> web.StreamResponse:
    return pages.redirect(guard.HOME)


PAGES: Final = (
    Page("GET", "/", "anyone", _home),
    Page("GET", "/console", "anyone", _home),
    Page("GET", "/console/static/{version}/{name:.+}", "anyone", assets.give),
    Page("GET", "/console/login", "anyone", login.form),
    Page("POST", "/console/login", "anyone", login.log_in),
    Page("POST", "/console/logout", "user", login.log_out),
    Page("GET", "/console/", "user", runs.show),
    Page("GET", "/console/data/rows", "user", runs.rows),
    Page("GET", "/console/data/counts", "user", runs.counts),
    Page("GET", "/console/data/events", "user", changes.stream),
)


def routes() -> Sequence[web.RouteDef]:
    """Give every page as a route, behind its guard."""
    return [web.route(page.method, page.path, _guarded(page)) for page in PAGES]


def _guarded(page: Page) -> Handler:
    async def guarded(request: web.Request) -> web.StreamResponse:
        guard.check_host(request)
        if page.method == "POST":
            guard.check_origin(request)
        if page.who == "user":
            await guard.identify(request)
            if page.method == "POST":
                await guard.check_form(request)
        return await page.handler(request)

    return guarded
