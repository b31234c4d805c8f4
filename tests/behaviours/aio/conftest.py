"""A server of each module's own whose jobs do what their data says, and a client of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol

import pytest

from finetuner.aio.client import AsyncClient
from finetuner.aio.run import AsyncRun
from tests.aio.conftest import Home, home_at


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with home_at(tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture
async def client(home: Home) -> AsyncIterator[AsyncClient]:
    async with AsyncClient() as made:
        await made.login()
        yield made


class AsyncSubmit(Protocol):
    """Submits a scripted run; three lines are `lines=3`."""

    async def __call__(
        self,
        run_name: str | None = None,
        *,
        experiment_name: str | None = None,
        tags: list[str] | None = None,
        **wish: Any,
    ) -> AsyncRun: ...


@pytest.fixture
def submit(client: AsyncClient) -> AsyncSubmit:
    async def start(
        run_name: str | None = None, *, experiment_name: str | None = None, tags: list[str] | None = None, **wish: Any
    ) -> AsyncRun:
        return await client.fit(
            "all-minilm-l6-v2",
            [(json.dumps(wish), "x")],
            run_name=run_name,
            experiment_name=experiment_name,
            tags=tags,
            loss="MultipleNegativesRankingLoss",
            progress=False,
        )

    return start
