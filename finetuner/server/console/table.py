"""Every page of the console, once, with who may see it and what its request must show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import attrs
from aiohttp import web
from aiohttp.typedefs import Handler

from finetuner.server.console import assets, guard, pages
from finetuner.server.console.views import actions, login, run, runs
from finetuner.server.console.views import logs as log_pages
from finetuner.server.handlers import artifacts, changes, logs
from finetuner.server.handlers import runs as run_handlers

_RUN: Final = "/console/runs/{id}"
_DATA: Final = "/console/data/runs/{id}"


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
    Page("GET", _RUN, "user", run.overview),
    Page("GET", f"{_RUN}/logs", "user", log_pages.show),
    Page("GET", f"{_RUN}/config", "user", run.configuration),
    Page("GET", f"{_RUN}/examples", "user", run.examples),
    Page("GET", f"{_RUN}/artifact", "user", run.artifact),
    Page("GET", f"{_RUN}/cancel", "user", actions.ask_cancel),
    Page("POST", f"{_RUN}/cancel", "user", actions.cancel),
    Page("GET", f"{_RUN}/delete", "user", actions.ask_delete),
    Page("POST", f"{_RUN}/delete", "user", actions.delete),
    Page("GET", f"{_DATA}/lines", "user", log_pages.lines),
    Page("GET", f"{_DATA}/search", "user", log_pages.search),
    Page("GET", f"{_DATA}/logs", "user", logs.logs),
    Page("GET", f"{_DATA}/logstream", "user", logs.logstream),
    Page("GET", f"{_DATA}/events", "user", logs.events),
    Page("GET", f"{_DATA}/metrics", "user", run_handlers.metrics),
    Page("GET", "/console/data/artifacts/{id}", "user", artifacts.content),
)


def routes() -> Sequence[web.RouteDef]:
    """Give every page as a route, behind its guard."""
    return [web.route(page.method, page.path, _guarded(page)) for page in PAGES]


def _guarded(page: Page) -> Handler:
    async def guarded(request: web.Request) -> web.StreamResponse:
        guard.check_peer(request)
        guard.check_host(request)
        if page.method == "POST":
            guard.check_origin(request)
        if page.who == "user":
            await guard.identify(request)
            if page.method == "POST":
                await guard.check_form(request)
        return await page.handler(request)

    return guarded
