"""A web service over Finetuner: people upload a CSV file, look at their run, and watch its log as it is written.

    python service.py --port 8000

Runs go to the server that FINETUNER_HOST names, or else to this machine's own. `docs/service.md` tells why it is
built so.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from weakref import WeakSet

from aiohttp import web
from aiohttp.typedefs import Handler

from finetuner import AsyncClient, AsyncLogStream, AsyncRun, errors

PAGE: Final = Path(__file__).with_name("service.html")
MAX_UPLOAD_BYTES: Final = 64 * 2**20
ANSWERS: Final = (
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.InvalidInput, 422),
    (errors.RateLimited, 429),
    (errors.StorageFull, 507),
    (errors.ServerError, 503),
)
LOG: Final = logging.getLogger("service")

CLIENT: Final = web.AppKey("client", AsyncClient)
TIMEOUT_S: Final = web.AppKey("timeout_s", float)
PING_S: Final = web.AppKey("ping_s", float)
STREAMS: Final = web.AppKey("streams", WeakSet[AsyncLogStream])


def make_app(timeout_s: float, ping_s: float) -> web.Application:
    """Put the service together.

    Args:
        timeout_s: How long a call to Finetuner may take, its retries included.
        ping_s: A stream that has nothing to say says so this often: proxies cut what is silent.
    """
    app = web.Application(middlewares=[errors_as_answers], client_max_size=MAX_UPLOAD_BYTES)
    app[TIMEOUT_S], app[PING_S] = timeout_s, ping_s
    app[STREAMS] = WeakSet()
    app.cleanup_ctx.append(one_client)
    app.on_shutdown.append(end_streams)
    app.router.add_get("/", page)
    app.router.add_post("/runs", submit)
    app.router.add_get("/runs/{id}", status)
    app.router.add_get("/runs/{id}/logs", watch)
    return app


async def one_client(app: web.Application) -> AsyncIterator[None]:
    """Share one client among all requests, for as long as the service runs."""
    async with AsyncClient(timeout_s=app[TIMEOUT_S]) as app[CLIENT]:
        yield


async def end_streams(app: web.Application) -> None:
    """End the streams, which would hold up the end of the service; browsers come again where they were."""
    for log in app[STREAMS].copy():
        await log.aclose()


@web.middleware
async def errors_as_answers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell people what they can do; what only the owner of this service can mend goes into its own log."""
    try:
        return await handler(request)
    except web.HTTPClientError as error:  # aiohttp's own: no such page, too large a file
        return web.json_response({"error": error.reason, "detail": error.text}, status=error.status)
    except errors.FinetunerError as error:
        code = next((status for kind, status in ANSWERS if isinstance(error, kind)), 500)
        said: dict[str, Any] = {"error": type(error).__name__, "detail": str(error)}
        headers = {}
        if isinstance(error, errors.RateLimited):
            headers["Retry-After"] = f"{error.retry_after_s:.0f}"
        elif code >= 500:
            LOG.warning("%s %s: %s", request.method, request.path, error)
            said["detail"] = "this cannot be done now; try again later"
        if isinstance(error, errors.ServerError) and error.idempotency_key:
            said["idempotency_key"] = error.idempotency_key  # sent with the next try, it makes one run of both
        return web.json_response(said, status=code, headers=headers)


async def page(_: web.Request) -> web.FileResponse:
    return web.FileResponse(PAGE)


async def submit(request: web.Request) -> web.Response:
    """Submit a run; an `Idempotency-Key` makes one run of however many tries."""
    client, form = request.app[CLIENT], await request.post()
    data = form.get("train_data")
    # What a stranger says is never taken for a path: `fit` would read that file of this machine, or load that folder.
    if isinstance(data, web.FileField):
        file: io.TextIOBase = io.TextIOWrapper(data.file, "utf-8-sig", newline="")
    elif isinstance(data, str):
        file = io.StringIO(data, newline="")
    else:
        raise errors.InvalidInput("train_data is missing: a CSV file, or its text")
    fields = {name: value for name, value in form.items() if isinstance(value, str)}
    model, epochs = fields.get("model", "all-minilm-l6-v2"), fields.get("epochs", "5")
    if model not in client.list_models():
        raise errors.InvalidInput(f"there is no model {model!r}; there are {', '.join(client.list_models())}")
    if not epochs.isdecimal():
        raise errors.InvalidInput(f"epochs must be a whole number, not {epochs!r}")
    run = await client.fit(
        model=model,
        train_data=file,
        loss=fields.get("loss", "MultipleNegativesRankingLoss"),
        epochs=int(epochs),
        run_name=fields.get("run_name") or None,
        idempotency_key=request.headers.get("Idempotency-Key"),
        progress=False,
    )
    return web.json_response(shown(run), status=201, headers={"Location": f"/runs/{run.id}"})


async def status(request: web.Request) -> web.Response:
    """Say how a run stands."""
    return web.json_response(shown(await request.app[CLIENT].get_run_by_id(request.match_info["id"])))


def shown(run: AsyncRun) -> dict[str, Any]:
    """Give what people may know of a run."""
    info = run.info
    step = info.progress and {"step": info.progress.step, "steps": info.progress.steps}
    return {"id": run.id, "name": run.name, "status": info.status, "details": info.details, "progress": step}


async def watch(request: web.Request) -> web.StreamResponse:
    """Give a log as server-sent events, after the `Last-Event-ID` that a browser says when it comes again."""
    after = request.headers.get("Last-Event-ID", "0")
    if not after.isdecimal():
        raise errors.InvalidInput(f"Last-Event-ID must be the id of an event, not {after!r}")
    run = await request.app[CLIENT].get_run_by_id(request.match_info["id"])
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    async with run.stream_logs(after=int(after)) as log:  # left by cancellation when the watcher goes
        request.app[STREAMS].add(log)
        await response.prepare(request)
        await response.write(b"retry: 1000\n\n")
        try:
            await send(log, response, request.app[PING_S])
        except errors.ServerError as error:
            LOG.warning("the log of %s: %s", run.name, error)  # the browser comes again by itself
        except ConnectionResetError:
            pass  # the watcher has gone while lines were written
        except errors.FinetunerError as error:
            await response.write(event("end", error=str(error)))
    return response


async def send(log: AsyncLogStream, response: web.StreamResponse, ping_s: float) -> None:
    """Pass lines on as they come, no faster than the watcher takes them."""
    while True:
        try:
            async with asyncio.timeout(ping_s):
                line = await anext(log)
        except TimeoutError:
            await response.write(b": ping\n\n")
        except StopAsyncIteration:
            break
        else:
            await response.write(event("message", id=log.offset, line=line))
    if log.status is not None:
        await response.write(event("end", status=log.status))


def event(kind: str, id: int | None = None, **data: str) -> bytes:
    """Give a server-sent event; JSON has no line ends, whatever a line of a log has."""
    head = f"event: {kind}\n" if id is None else f"id: {id}\n"
    return f"{head}data: {json.dumps(data)}\n\n".encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--timeout-s", type=float, default=30.0, help="how long a call to Finetuner may take")
    parser.add_argument("--ping-s", type=float, default=15.0, help="how often a silent stream says that it is there")
    given = parser.parse_args()
    # Without handler_cancellation, aiohttp would go on with the stream of a watcher who has gone.
    app = make_app(given.timeout_s, given.ping_s)
    web.run_app(app, host=given.host, port=given.port, handler_cancellation=True)


if __name__ == "__main__":
    main()
