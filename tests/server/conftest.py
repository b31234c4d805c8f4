"""The service that the tests of the server speak to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from finetuner.server.settings import Settings
from finetuner.server.store.database import Database
from tests.server.serving import Client, Service, make_settings, serving, starting_nothing


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path / "state")


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[Service]:
    """A service that starts runs; its job is one line of Python."""
    async with serving(settings) as running:
        yield running


@pytest.fixture
async def quiet(settings: Settings) -> AsyncIterator[Service]:
    """A service whose runs all stay CREATED."""
    async with serving(starting_nothing(settings)) as running:
        yield running


@pytest.fixture
async def client(quiet: Service) -> Client:
    """The user of a service whose runs all stay CREATED; the data set `pairs` is there."""
    await quiet.client.dataset()
    return quiet.client


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(tmp_path / "finetuner.db")
    yield opened
    await opened.close()
