"""The client: all calls of the SDK that are not about one run; each noun's are in a file of their own."""

from __future__ import annotations

import asyncio
import sys
from types import TracebackType
from typing import Self

import aiohttp

from finetuner.aio import credentials
from finetuner.aio.arguments import checked
from finetuner.aio.artifact_calls import ArtifactCalls
from finetuner.aio.dataset_calls import DatasetCalls
from finetuner.aio.endpoint import Endpoint
from finetuner.aio.experiment_calls import ExperimentCalls
from finetuner.aio.follow_calls import FollowCalls
from finetuner.aio.model_calls import ModelCalls
from finetuner.aio.question import ask_secret
from finetuner.aio.run import AsyncRun
from finetuner.aio.transport import Request, Transport
from finetuner.errors import InvalidInput, NotLoggedIn


@checked
class AsyncClient(ExperimentCalls, FollowCalls, DatasetCalls, ArtifactCalls, ModelCalls):
    """The SDK for asyncio programs. Safe with many tasks of one event loop, and in one loop after another.

    Args:
        host: URL of a server; None: FINETUNER_HOST, or else this machine's embedded server, started when needed.
        token: For that server; None: FINETUNER_TOKEN, or what `login()` kept.
        session: An aiohttp session to use, which stays open; None: sessions of its own. Its connector, proxy, cookies
            and headers are used; how long to wait, what is an error and who asks is this client's own.
        timeout_s: How long a call may take, its retries included.
        connections: Most connections for calls; streams have their own.

    Example:
        async with AsyncClient() as client:
            runs = await client.list_runs()
    """

    def __init__(
        self,
        host: str | None = None,
        token: str | None = None,
        *,
        session: aiohttp.ClientSession | None = None,
        timeout_s: float = 60.0,
        connections: int = 32,
    ) -> None:
        if not timeout_s > 0:
            raise InvalidInput(f"timeout_s must be greater than 0, not {timeout_s!r}")
        if connections < 1:
            raise InvalidInput(f"connections must be 1 or more, not {connections!r}")
        self._connections = connections
        self._transport = Transport(
            Endpoint(host, token), session=session, timeout_s=timeout_s, connections=connections
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; a session that was given stays open.

        Example:
            await client.aclose()
        """
        await self._transport.aclose()

    @property
    def host(self) -> str:
        """The server: its URL, or `the embedded server` before that was first needed."""
        return self._transport.endpoint.shown

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.host}>"

    def _when_interrupted(self) -> str:
        return "what was submitted goes on: finetuner.list_runs() has it"

    async def login(
        self,
        force: bool = False,
        interactive: bool | None = None,
        host: str | None = None,
        token: str | None = None,
    ) -> None:
        """Check that the server takes this user, and keep the token for later programs.

        The embedded server needs no question and is started if it does not run. Tokens are kept one a host.

        Args:
            force: Ask for a token though one is kept.
            interactive: Whether a person can be asked; None: when stdin is a terminal.
            host: Use this server from now on.
            token: The token; None: FINETUNER_TOKEN, the one that is kept, or a question.

        Raises:
            NotLoggedIn: There is no token and nobody to ask, or the server refused it.

        Example:
            await client.login(host="http://machine:8421", token="...")
        """
        endpoint = self._transport.endpoint
        if host is not None or token is not None:
            endpoint.point(host, token)
        if endpoint.is_embedded:
            if token is not None:
                raise InvalidInput("the embedded server needs no token; say which host the token is for: host=...")
            await self._check_me()
            return
        address = await endpoint.get(self._transport.timeout_s)
        given = address.token
        if token is None and (force or given is None):
            if not (sys.stdin.isatty() if interactive is None else interactive):
                raise NotLoggedIn(
                    f"no token for {address.url}: call finetuner.login(host={address.url!r}, token=...) or set "
                    "FINETUNER_TOKEN; `finetuner server user add` on the server makes one",
                    reason=f"no token for {address.url}",
                    host=address.url,
                )
            given = await ask_secret(f"Token for {address.url}: ")
            endpoint.point(None, given)
        await self._check_me()
        if given:
            await asyncio.to_thread(credentials.keep, address.url, given)

    async def _check_me(self) -> None:
        """Make sure that it is a Finetuner server, and that it takes the token."""
        (await self._transport.call(Request(route="me"))).json()

    async def get_token(self) -> str:
        """Give the token that is sent to the server.

        Raises:
            NotLoggedIn: There is none.

        Example:
            token = await client.get_token()
        """
        address = await self._transport.endpoint.get(self._transport.timeout_s)
        if not address.token:
            raise NotLoggedIn(f"no token for {address.url}: call finetuner.login(host={address.url!r}, token=...)")
        return address.token

    async def console_url(self, run: AsyncRun | None = None) -> str:
        """Give a link to the server's web pages that logs its first visitor in, once and within a minute.

        Who has the link until then is this user: hand it to a browser, and keep it from logs.

        Args:
            run: Lead to the page of this run; None: to the list of all runs.

        Example:
            webbrowser.open(await client.console_url(run))
        """
        onward = None if run is None else f"/console/runs/{run.id}"
        answer = await self._transport.call(Request(route="console_ticket", query={"next": onward}))
        address = await self._transport.endpoint.get(self._transport.timeout_s)
        return f"{address.url}{answer.json()['path']}"
