"""A file on its way to the server: what is there already is not sent, and what was cut goes on where it broke."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import BinaryIO, Final

import attrs

from finetuner.aio.answers import Answer, stranger, to_error
from finetuner.aio.patience import Patience
from finetuner.aio.progress import Bar
from finetuner.aio.retrying import Tried, until_settled
from finetuner.aio.transport import Lost, Request, Transport
from finetuner.api.retry import Done, GiveUp, Reason
from finetuner.errors import BadResponse

CHUNK_BYTES: Final = 4 * 2**20
"""Bytes of one append."""
_MAX_RESYNCS: Final = 20
"""Appends, one after the other, that the server did not take where it had said that it goes on."""


async def upload(
    transport: Transport, path: Path, *, sha256: str, size_bytes: int, show: bool | None, label: str
) -> None:
    """Bring a file's content to the server; what is there already is not sent again.

    Args:
        transport: How to reach the server.
        path: The file.
        sha256: Of its content.
        size_bytes: Its size.
        show: Whether to show a progress bar; None: on a terminal.
        label: What the bar says.

    Raises:
        StorageFull: The server's disk is full.
        ServerUnavailable: The server could not be reached, or nothing got through, for as long as a call may take.
    """
    with Bar(label, size_bytes, show=show) as bar, path.open("rb") as file:
        sending = _Upload(
            transport=transport,
            parts={"upload": f"sha256-{sha256}"},
            size_bytes=size_bytes,
            file=file,
            bar=bar,
            patience=Patience(method="PATCH", budget_s=transport.timeout_s),
        )
        while not sending.is_complete:
            tried = await until_settled(sending.step)
            if tried.error is not None:
                raise tried.error


@attrs.define(kw_only=True, eq=False)
class _Upload:
    """How far an upload has come."""

    transport: Transport
    parts: dict[str, str]
    size_bytes: int
    file: BinaryIO
    bar: Bar
    patience: Patience
    offset: int | None = None
    """Where the server goes on; None where it must be asked: at first, and when an append had no answer."""
    furthest: int = -1
    resyncs: int = 0
    is_complete: bool = False

    async def step(self) -> Tried[None]:
        """Ask where to go on, or append a chunk there."""
        request = await self._request(self.offset)
        got = await self.transport.try_once(request, self.patience.attempt_s)
        if isinstance(got, Answer) and got.status < 300 and not got.is_ours:
            strange = stranger(got, request.shown, self.transport.endpoint.shown)
            return Tried(decision=GiveUp(Reason.FINAL), error=strange)
        if isinstance(got, Answer) and got.status in {200, 204, 404, 409} and request.body is None:
            return self._asked(got)
        if isinstance(got, Answer) and got.status in {200, 204, 409}:
            return self._appended(got, request)
        self.offset = None
        if isinstance(got, Lost):
            return Tried(decision=self.patience.decide(got.outcome, None), error=got.error)
        error = to_error(got, request.shown, self.transport.endpoint.shown)
        return Tried(decision=self.patience.decide(got.status, got.retry_after_s), error=error)

    async def _request(self, offset: int | None) -> Request:
        if offset is None:
            return Request(route="blob_head", parts=self.parts)
        return Request(
            route="blob_patch",
            parts=self.parts,
            headers={
                "Upload-Offset": str(offset),
                "Upload-Length": str(self.size_bytes),
                "Content-Type": "application/offset+octet-stream",
            },
            body=await asyncio.to_thread(_read_at, self.file, offset),
        )

    def _asked(self, answer: Answer) -> Tried[None]:
        self.is_complete = answer.headers.get("Upload-Complete") == "?1"
        self._go_on_at(0 if answer.status == 404 else self._said(answer))
        return Tried(decision=Done())

    def _appended(self, answer: Answer, request: Request) -> Tried[None]:
        offset = self._said(answer)
        has_all = offset == self.size_bytes
        self.is_complete = has_all and answer.status != 409
        self.resyncs = self.resyncs + 1 if offset <= self.furthest else 0
        if self.resyncs > _MAX_RESYNCS:
            error = to_error(answer, request.shown, self.transport.endpoint.shown)
            return Tried(decision=GiveUp(Reason.FINAL), error=error)
        self._go_on_at(offset)
        if has_all and not self.is_complete:
            self.offset = None  # somebody else sent the rest: whether it was found whole is to be asked
        return Tried(decision=Done())

    def _go_on_at(self, offset: int) -> None:
        if offset > self.furthest:
            self.furthest = offset
            self.patience.further()
        self.offset = offset
        self.bar.set(offset)

    def _said(self, answer: Answer) -> int:
        text = answer.headers.get("Upload-Offset")
        if text is None or not text.isdecimal() or int(text) > self.size_bytes:
            raise BadResponse(f"the server says that byte {text} of {self.size_bytes} of the upload comes next")
        return int(text)


def _read_at(file: BinaryIO, offset: int) -> bytes:
    file.seek(offset)
    return file.read(CHUNK_BYTES)
