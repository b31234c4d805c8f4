"""The one seam to aiohttp: requests out, answers or this library's errors in."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Collection, Mapping
from typing import Final

import aiohttp
import attrs

from finetuner.aio.answers import REQUEST_ID, Answer, stranger, to_error
from finetuner.aio.endpoint import Endpoint
from finetuner.aio.retrying import Tried, until_settled
from finetuner.api.retry import Done, NoAnswer, Retry, decide
from finetuner.api.routes import BY_NAME, Route
from finetuner.errors import FinetunerError, InvalidInput, ServerUnavailable

CONNECT_TIMEOUT_S: Final = 10.0
ATTEMPT_TIMEOUT_S: Final = 30.0
"""Longest silence of the server within one try of a call."""


@attrs.frozen(kw_only=True)
class Request:
    """One request, before it is known where it goes."""

    route: str
    """Name of the route in `api.routes`."""
    parts: Mapping[str, str] = attrs.field(factory=dict)
    query: Mapping[str, object] = attrs.field(factory=dict)
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes | None = attrs.field(default=None, repr=False)
    keyed: bool = False
    """Whether this POST may be repeated."""
    accept: Collection[int] = ()
    """Statuses that are answers to the caller, not errors."""
    max_bytes: int | None = None
    """A longer body is not read; `Answer.length` tells."""

    @property
    def spec(self) -> Route:
        """The route."""
        return BY_NAME[self.route]

    @property
    def url(self) -> str:
        """Path and query."""
        return self.spec.url(self.query, **self.parts)

    @property
    def shown(self) -> str:
        """The request for a message."""
        return f"{self.spec.method} {self.url}"


LOST: Final = (aiohttp.ClientError, OSError, TimeoutError)
"""What aiohttp raises where no answer came, or not a whole one."""


class Transport:
    """Sends requests for one client: calls and streams from separate pools, so that neither starves the other.

    Args:
        endpoint: The server.
        session: The caller's session, which stays open; None for sessions of its own, made when first needed.
        timeout_s: How long a call may take, retries included.
        connections: Most connections for calls; streams have no limit.
    """

    def __init__(
        self, endpoint: Endpoint, *, session: aiohttp.ClientSession | None, timeout_s: float, connections: int
    ) -> None:
        self.endpoint = endpoint
        self.timeout_s = timeout_s
        self._given = session
        self._connections = connections
        self._pools: dict[bool, aiohttp.ClientSession] = {}
        self._responses: weakref.WeakSet[aiohttp.ClientResponse] = weakref.WeakSet()
        """What may still be read."""
        self._loop: asyncio.AbstractEventLoop | None = None
        """The loop that the pools belong to."""
        self._paused_until = 0.0
        self._is_closed = False

    async def aclose(self) -> None:
        """Close the connections; the caller's own session stays open."""
        self._is_closed = True
        for response in list(self._responses):
            response.close()  # whoever reads it hears of this, which closing its connection does not see to
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            await pool.close()

    def check_open(self) -> None:
        """Refuse to go on with a client that is closed.

        Raises:
            RuntimeError: It is.
        """
        if self._is_closed:
            raise RuntimeError("this client is closed: make another one, and get its runs from that")

    async def _pool(self, *, stream: bool) -> aiohttp.ClientSession:
        self.check_open()
        if self._given is not None:
            _check_usable(self._given)
            return self._given
        await self._move(asyncio.get_running_loop())
        pool = self._pools.get(stream)
        if pool is None:
            # A stream is long, and is over when it ends: its connection is not kept for another.
            connector = aiohttp.TCPConnector(limit=0 if stream else self._connections, force_close=stream)
            pool = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
            self._pools[stream] = pool
        return pool

    async def _move(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin anew in the loop of a later `asyncio.run`: connections end with the loop that they were made in.

        Raises:
            InvalidInput: The loop that was there before still runs.
        """
        if self._loop is loop:
            return
        if self._loop is not None and self._loop.is_running():
            raise InvalidInput("this client is used in another event loop that still runs; make one for each loop")
        pools, self._pools, self._loop = self._pools, {}, loop
        for pool in pools.values():
            await pool.close()

    async def open(self, request: Request, *, stream: bool, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        """Send a request once and give the response when its headers are in; the caller closes it.

        Raises:
            aiohttp.ClientError: No answer came; so do OSError and TimeoutError.
        """
        response = await self._send(request, stream=stream, timeout=timeout)
        if response.status == 401 and self.endpoint.is_embedded:
            response.close()
            self.endpoint.forget()
            response = await self._send(request, stream=stream, timeout=timeout)
        return response

    async def _send(self, request: Request, *, stream: bool, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        self.check_open()
        address = await self.endpoint.get(self.timeout_s if timeout.total is None else timeout.total)
        headers = {"Accept-Encoding": "identity", **request.headers}
        if request.body is not None:
            headers.setdefault("Content-Type", "application/json")
        if address.token:
            headers["Authorization"] = f"Bearer {address.token}"
        pool = await self._pool(stream=stream)
        response = await pool.request(
            request.spec.method,
            f"{address.url}{request.url}",
            data=request.body,
            headers=headers,
            timeout=timeout,
            allow_redirects=False,
            raise_for_status=False,  # whatever a session of the caller's does with an error: this reads it
        )
        if self._is_closed:  # meanwhile, and a session of the caller's goes on
            response.close()
            self.check_open()
        self._responses.add(response)
        if self.endpoint.is_embedded and REQUEST_ID not in response.headers:
            response.close()
            raise aiohttp.ClientConnectionError(f"a stranger answers at {address.url}")
        return response

    async def call(self, request: Request, *, timeout_s: float | None = None) -> Answer:
        """Send a request, again where that helps, and give its answer.

        Args:
            request: What to send.
            timeout_s: How long this may take, retries included; None for the client's own.

        Raises:
            FinetunerError: The one that the answer stands for.
            ServerUnavailable: No answer came in that time.
        """
        loop = asyncio.get_running_loop()
        budget_s = self.timeout_s if timeout_s is None else timeout_s
        begun = loop.time()
        tries = 0

        async def attempt() -> Tried[Answer]:
            nonlocal tries
            if (pause_s := min(self._paused_until, begun + budget_s) - loop.time()) > 0:
                await asyncio.sleep(pause_s)
            tries += 1
            left_s = max(begun + budget_s - loop.time(), 1.0)
            got = await self.try_once(request, left_s)
            outcome, wait_s = (got.status, got.retry_after_s) if isinstance(got, Answer) else (got.outcome, None)
            if isinstance(got, Answer) and got.status in request.accept:
                return Tried(decision=Done(), value=got)
            decision = decide(
                request.spec.method,
                tries,
                outcome,
                retry_after=wait_s,
                elapsed_s=loop.time() - begun,
                budget_s=budget_s,
                keyed=request.keyed,
            )
            if isinstance(got, Lost):
                return Tried(decision=decision, error=got.error)
            if isinstance(decision, Done) and got.status < 300 and not got.is_ours:
                return Tried(decision=decision, error=stranger(got, request.shown, self.endpoint.shown))
            if isinstance(decision, Done) and got.status not in range(300, 400):
                return Tried(decision=decision, value=got)
            if outcome == 429 and isinstance(decision, Retry):
                self._paused_until = max(self._paused_until, loop.time() + decision.after_s)
            return Tried(decision=decision, error=to_error(got, request.shown, self.endpoint.shown))

        tried = await until_settled(attempt)
        if tried.value is None:
            raise tried.error or ServerUnavailable(f"no answer to {request.shown}")
        return tried.value

    async def try_once(self, request: Request, left_s: float) -> Answer | Lost:
        """Send a request once, and give its answer, or that there was none in that time."""
        silence_s = min(left_s, ATTEMPT_TIMEOUT_S)
        timeout = aiohttp.ClientTimeout(total=left_s, sock_connect=CONNECT_TIMEOUT_S, sock_read=silence_s)
        try:
            response = await self.open(request, stream=False, timeout=timeout)
            async with response:
                return await read_answer(response, request.max_bytes)
        except LOST as error:
            return self.lost(error, request)

    def lost(self, error: BaseException, request: Request) -> Lost:
        """Take note that no answer came, and give what that means.

        An error of this library's own passes through: it says why the embedded server could not be started.
        """
        if isinstance(error, FinetunerError):
            raise error
        why = str(error) or type(error).__name__
        if isinstance(error, aiohttp.ServerDisconnectedError):
            why = (
                "the connection was closed before the head of an answer was whole"  # aiohttp shows what there was of it
            )
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            raise self.unavailable(why, request, error)  # it would be the same again
        if isinstance(error, aiohttp.ClientSSLError):
            why += "; does it speak https there?"
        self.endpoint.forget()
        outcome = NoAnswer.TIMEOUT if isinstance(error, TimeoutError) else NoAnswer.CONNECTION
        return Lost(outcome=outcome, error=self.unavailable(why, request, error))

    def unavailable(self, why: str, request: Request, cause: BaseException | None = None) -> ServerUnavailable:
        """Give the error for a server that does not answer."""
        hint = (
            "`finetuner server logs` shows its log"
            if self.endpoint.is_embedded
            else "check the address and the network"
        )
        error = ServerUnavailable(f"no answer from {self.endpoint.shown} to {request.shown}: {why}; {hint}")
        error.__cause__ = cause
        return error


def _check_usable(session: aiohttp.ClientSession) -> None:
    """Refuse a caller's session with which no request can be sent.

    Raises:
        RuntimeError: It is closed.
        InvalidInput: It belongs to another event loop, or sends credentials of its own in the token's place.
    """
    if session.closed:
        raise RuntimeError("the session that this client was given is closed; make a client with one that is open")
    if getattr(session, "_loop", None) not in {None, asyncio.get_running_loop()}:
        raise InvalidInput("the session belongs to another event loop; make it, and a client with it, in this one")
    if getattr(session, "auth", None) is not None:  # in aiohttp 4 there is none
        raise InvalidInput("the session sends credentials of its own (auth=) where the token belongs; make it without")


@attrs.frozen(kw_only=True)
class Lost:
    """A try to which no answer came, or not a whole one."""

    outcome: NoAnswer
    error: ServerUnavailable


def unread(content: aiohttp.StreamReader) -> bytes:
    """Give what had come before a connection broke: once it has, aiohttp gives nothing but the error."""
    if content.exception() is None:
        return b""
    content.set_exception(None)  # type: ignore[arg-type] # from here on it gives what it holds
    return content.read_nowait()


async def read_answer(response: aiohttp.ClientResponse, max_bytes: int | None = None) -> Answer:
    """Read a response to its end, unless it is longer than `max_bytes`."""
    length = response.content_length
    if max_bytes is not None and length is not None and length > max_bytes and response.status < 300:
        response.close()
        return Answer(status=response.status, headers=response.headers, body=b"", length=length)
    if max_bytes is None or length is not None or response.status >= 300:
        body = await response.read()
        return Answer(status=response.status, headers=response.headers, body=body, length=len(body))
    pieces: list[bytes] = []
    size = 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > max_bytes:
            response.close()
            return Answer(status=response.status, headers=response.headers, body=b"", length=size, is_cut=True)
    return Answer(status=response.status, headers=response.headers, body=b"".join(pieces), length=size)
