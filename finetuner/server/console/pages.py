"""Pages as answers: templates, the headers that keep a page safe, and errors in words for people."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import jinja2
import orjson
from aiohttp import web

from finetuner.server import keys
from finetuner.server.console import guard, shown
from finetuner.server.console.assets import assets
from finetuner.server.console.sessions import SESSION

POLICY: Final = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
    # No script can turn a text into markup, not even by mistake.
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}
PRIVATE: Final = {"Cache-Control": "no-store", "Cross-Origin-Resource-Policy": "same-origin"}
"""Of whatever a session is needed for: kept by no browser after a logout, and used by no other page."""
HEADERS: Final = {
    **PRIVATE,
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in POLICY.items()),
    "Cross-Origin-Opener-Policy": "same-origin",
    # The origin must arrive with forms; no other site is told anything.
    "Referrer-Policy": "same-origin",
}
_TITLES: Final = {
    400: "This request cannot be read",
    403: "Not allowed",
    404: "There is no such page",
    405: "This page cannot do that",
    409: "Not now",
    410: "It is gone",
    413: "Too large",
    416: "The log is shorter",
    422: "This cannot be shown",
    500: "The server failed",
    503: "Not available",
    507: "The server's disk is full",
}


@cache
def templates() -> jinja2.Environment:
    """Give the templates; every text in them is escaped."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(shown.FILTERS)
    made.globals["asset"] = assets().url
    return made


def page(request: web.Request, template: str, *, status: int = 200, **values: Any) -> web.Response:
    """Answer with a page."""
    session = request.get(SESSION)
    text = (
        templates()
        .get_template(template)
        .render(
            user=request.get(keys.USER),
            form_key=None if session is None else session.form_key,
            **values,
        )
    )
    return web.Response(text=text, status=status, content_type="text/html", headers=HEADERS)


def redirect(path: str) -> web.Response:
    """Answer with another address, to be fetched with GET."""
    return web.Response(status=303, headers={**HEADERS, "Location": path})


async def protect(request: web.Request, response: web.StreamResponse) -> None:
    """Keep the data behind the pages private, whichever handler gives it."""
    if request.path.startswith(f"{guard.ROOT}/data/"):
        response.headers.update(PRIVATE)


def is_for_people(request: web.Request) -> bool:
    """Whether an error is to be told as a page: to a browser that asked for one."""
    path = request.path
    if path.startswith((f"{guard.ROOT}/data/", f"{guard.ROOT}/static/")):
        return False
    if path == guard.ROOT or path.startswith(guard.HOME):
        return True
    return not path.startswith("/api/") and "text/html" in request.headers.get("Accept", "")


def problem(request: web.Request, answer: web.Response) -> web.Response:
    """Say an error as a page; who is not logged in is asked to, and comes back to where they wanted to go."""
    if answer.status == 401:
        return _login(request)
    said = orjson.loads(answer.body) if isinstance(answer.body, bytes) else {}
    made = page(
        request,
        "problem.html",
        status=answer.status,
        title=_TITLES.get(answer.status, "This did not work"),
        detail=said.get("detail", ""),
        request_id=said.get("request_id", ""),
    )
    if "Allow" in answer.headers:
        made.headers["Allow"] = answer.headers["Allow"]
    return made


def _login(request: web.Request) -> web.Response:
    if request.method != "GET":
        return redirect(f"{guard.ROOT}/login")
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        # A link on another site brings no cookie along. The page that this answer is does, when it goes on.
        return page(request, "onward.html", path=request.path_qs)
    return redirect(f"{guard.ROOT}/login?next={quote(request.path_qs, safe='')}")
