"""Somebody who looks at the console."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.server.console.many import Visitor
from tests.server.serving import Client, Service


@pytest.fixture
async def stranger(client: Client) -> AsyncIterator[Visitor]:
    """A browser that is not logged in; the service's runs all stay CREATED."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield Visitor(client=client, session=session)


@pytest.fixture
async def visitor(stranger: Visitor, quiet: Service) -> Visitor:
    """A browser that is logged in."""
    assert quiet.settings.slots == 0
    assert (await stranger.log_in()).status == 303
    return stranger
