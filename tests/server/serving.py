"""A real service on a loopback port, and what tests ask of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import attrs
from aiohttp import web

from finetuner.api import routes
from finetuner.server import keys
from finetuner.server.app import make_app, set_up
from finetuner.server.settings import Settings
from finetuner.server.store import users
from finetuner.server.store.database import Database

TOKEN: Final = "a-token-for-tests"
SHORT_JOB: Final = (sys.executable, "-c", "print('a line of the job')")


@attrs.frozen(kw_only=True)
class Answer:
    """An answer, read to its end."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@attrs.frozen(kw_only=True)
class Client:
    """One user of the service, over real HTTP."""

    url: str
    session: aiohttp.ClientSession
    token: str = TOKEN

    async def ask(
        self,
        method: str,
        path: str,
        *,
        json_body: Any = None,
        data: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        given = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        body = json.dumps(json_body).encode() if json_body is not None else data
        async with self.session.request(
            method, f"{self.url}{path}", data=body, headers=given, allow_redirects=False
        ) as response:
            return Answer(status=response.status, headers=response.headers, body=await response.read())

    async def call(self, route: str, query: dict[str, object] | None = None, /, **parts: str) -> Answer:
        """Ask for a route that needs no body."""
        return await self.ask(routes.BY_NAME[route].method, routes.BY_NAME[route].url(query, **parts))

    async def upload(self, content: bytes) -> str:
        """Upload a blob and give its sha256."""
        sha256 = hashlib.sha256(content).hexdigest()
        headers = {"Upload-Offset": "0", "Upload-Length": str(len(content))}
        answer = await self.ask("PATCH", f"/api/v1/blobs/sha256-{sha256}", data=content, headers=headers)
        assert answer.status in {204, 409}, answer
        return sha256

    async def dataset(self, name: str = "pairs", content: bytes | None = None) -> str:
        """Upload a data set of two pairs and give its sha256."""
        content = pairs() if content is None else content
        sha256 = await self.upload(content)
        body = {"sha256": sha256, "kind": "pairs", "columns": ["anchor", "positive"], "rows": 2}
        answer = await self.ask("PUT", f"/api/v1/datasets/{name}", json_body=body)
        assert answer.status == 200, answer
        return sha256

    async def submit(
        self, body: dict[str, Any] | None = None, *, experiment: str = "default", key: str | None = None
    ) -> Answer:
        """Submit a run; its data set must be there."""
        headers = {} if key is None else {"Idempotency-Key": key}
        url = routes.url("experiment_runs_create", experiment=experiment)
        return await self.ask("POST", url, json_body=run_body() if body is None else body, headers=headers)

    async def run(self, experiment: str = "default", **fields: Any) -> dict[str, Any]:
        """Submit a run and give it."""
        answer = await self.submit({**run_body(), **fields}, experiment=experiment)
        assert answer.status == 201, answer
        run: dict[str, Any] = answer.json
        return run


@attrs.frozen(kw_only=True)
class Service:
    """A running service."""

    app: web.Application
    url: str
    client: Client

    @property
    def database(self) -> Database:
        return self.app[keys.DATABASE]

    @property
    def settings(self) -> Settings:
        return self.app[keys.SETTINGS]

    async def other(self, name: str = "other", *, is_admin: bool = False) -> Client:
        """Make another user."""
        async with self.database.write() as tx:
            user = await users.create(tx, name, is_admin=is_admin)
            token = await users.issue_token(tx, user.id)
        return attrs.evolve(self.client, token=token)


def pairs(rows: int = 2) -> bytes:
    """Give the file of a data set of pairs."""
    lines: list[Any] = [{"format": "finetuner-data/1", "kind": "pairs", "columns": ["anchor", "positive"]}]
    lines += [[f"question {number}", f"answer {number}"] for number in range(rows)]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def run_body(**config: Any) -> dict[str, Any]:
    """Give the body of a submission."""
    return {
        "config": {
            "model": {"name": "all-minilm-l6-v2"},
            "data": {"train_data": "pairs"},
            "hyper_parameters": {"loss": "MultipleNegativesRankingLoss"},
            **config,
        },
        "device": "cpu",
    }


def make_settings(state_dir: Path, **fields: Any) -> Settings:
    """Give the settings of an embedded server whose jobs need no torch."""
    values: dict[str, Any] = {
        "embedded": True,
        "token": TOKEN,
        "instance": secrets.token_hex(4),
        "job_argv": SHORT_JOB,
        "idle_stop_s": 0.0,
    }
    return Settings(state_dir=state_dir, **{**values, **fields})


def starting_nothing(settings: Settings) -> Settings:
    """Give the settings of a server whose runs all stay CREATED."""
    object.__setattr__(settings, "slots", 0)
    return settings


@contextlib.asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Service]:
    """Run the real application on a free loopback port."""
    runner = await set_up(make_app(settings), streams_end_s=60.0)
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        url = f"http://{host}:{port}"
        async with aiohttp.ClientSession() as session:
            yield Service(app=runner.app, url=url, client=Client(url=url, session=session))
    finally:
        await runner.cleanup()
