"""What a person can do to a run: each is asked about once more, on a page of its own."""

from __future__ import annotations

from aiohttp import web

from finetuner.server import keys
from finetuner.server.console import guard, pages
from finetuner.server.console.views import run
from finetuner.server.handlers import control
from finetuner.server.handlers import runs as handlers


async def ask_cancel(request: web.Request) -> web.StreamResponse:
    """Ask whether the run is to be cancelled."""
    return await _ask(request, "cancel")


async def ask_delete(request: web.Request) -> web.StreamResponse:
    """Ask whether the run is to be deleted."""
    return await _ask(request, "delete")


async def cancel(request: web.Request) -> web.StreamResponse:
    """Cancel the run, and go back to its page."""
    await control.cancel(request)
    return pages.redirect(f"{guard.ROOT}/runs/{request.match_info['id']}")


async def delete(request: web.Request) -> web.StreamResponse:
    """Delete the run, and go to the list."""
    await handlers.delete(request)
    return pages.redirect(guard.HOME)


async def _ask(request: web.Request, action: str) -> web.StreamResponse:
    async with request.app[keys.DATABASE].read(is_snapshot=True) as conn:
        values = await run.head(request, conn)
    return pages.page(request, "sure.html", action=action, **values)
