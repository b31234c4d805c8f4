"""The list of runs: exact, its pages fetched at the same time, given in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from finetuner.aio.stream import AsyncStream
from finetuner.aio.transport import Request, Transport
from finetuner.api.paging import Pager, RangeRequest, RunPage, read_page
from finetuner.api.types import Json
from finetuner.errors import BadResponse

if TYPE_CHECKING:
    from finetuner.aio.run import AsyncRun

Raw = dict[str, Any]
_known_by: Final = itemgetter("id", "name", "experiment_name", "artifact_id")


class AsyncRunIterator(AsyncStream["AsyncRun", Raw]):
    """Runs, newest first, each exactly once, the first of them before the last page is in.

    Left by `break`, it stops fetching when it is collected; `async with` stops it at once.

    Example:
        async for run in client.iter_runs(status="FAILED"):
            print(run.name, run.info.details)
    """

    def __init__(
        self,
        transport: Transport,
        *,
        query: Mapping[str, object],
        make_run: Callable[[Raw], AsyncRun],
        concurrency: int,
    ) -> None:
        super().__init__()
        self._make_run = make_run
        self._pager: Pager[Raw] = Pager(seq_of=itemgetter("seq"), concurrency=concurrency)
        self._tasks: dict[asyncio.Task[RunPage[Raw]], RangeRequest] = {}
        self._given = 0

        def ask(request: RangeRequest) -> Request:
            return Request(route="runs_list", query={**query, **request.query()})

        async def fetch(request: RangeRequest) -> RunPage[Raw]:
            answer = await transport.call(ask(request))
            with placed(transport, ask(request)):
                return read_runs(answer.json())

        self._transport = transport
        self._ask = ask
        self._fetch = fetch

    async def _more(self) -> list[Raw]:
        while not (self._is_over or self._pager.done):
            for request in self._pager.next_requests():
                task = asyncio.create_task(self._fetch(request))
                task.add_done_callback(_look_at)
                self._tasks[task] = request
            if rows := self._pager.ready():
                return rows
            await self._take_pages()
        return []

    async def _take_pages(self) -> None:
        if not self._tasks:
            return
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            request = self._tasks.pop(task, None)
            if request is not None:
                try:
                    page = task.result()
                    with placed(self._transport, self._ask(request)):
                        self._pager.feed(request, page)
                except BaseException:  # cancelled too: no request is left under way
                    await self.aclose()
                    raise

    def _give_all(self, entries: list[Raw]) -> list[AsyncRun]:
        self._given += len(entries)
        return [self._make_run(entry) for entry in entries]

    def _give(self, entry: Raw) -> AsyncRun:
        self._given += 1
        return self._make_run(entry)

    async def _release(self) -> None:
        tasks, self._tasks = list(self._tasks), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def __repr__(self) -> str:
        state = "more may come" if not self._pager.done or self._entries else "no more comes"
        return f"<{type(self).__name__}: {self._given} runs given, {state}>"

    def __del__(self) -> None:
        for task in self._tasks:
            with contextlib.suppress(RuntimeError):
                task.get_loop().call_soon_threadsafe(task.cancel)


def read_runs(value: Json) -> RunPage[Raw]:
    """Read a page whose rows are runs, each with what a run is known by.

    Raises:
        BadResponse: It is none.
    """
    page = read_page(value)
    try:
        kinds = set(map(type, chain.from_iterable(map(_known_by, page.items))))
    except KeyError:
        kinds = {object}
    if not kinds <= {str}:
        raise BadResponse("the server's list of runs holds something that is no run; is this a Finetuner server?")
    return page


@contextlib.contextmanager
def placed(transport: Transport, request: Request) -> Iterator[None]:
    """Say of an answer that makes no sense which one it was."""
    try:
        yield
    except BadResponse as error:
        where = f"{transport.endpoint.shown} answers {request.shown} with what cannot be"
        raise BadResponse(f"{where}: {error}", status=error.status, request_id=error.request_id) from error


def _look_at(task: asyncio.Task[Any]) -> None:
    """Take note of a task's error, so that one whose list was left is not reported as forgotten."""
    if not task.cancelled():
        task.exception()
