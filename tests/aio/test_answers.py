"""What a server refuses of calls that the client's own methods do not make, or not so: the codes have their classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetuner import errors
from finetuner.aio.client import AsyncClient
from finetuner.aio.transport import Request
from tests.server.serving import make_settings, serving

pytestmark = pytest.mark.anyio


async def test_what_is_an_admins_alone_is_refused_to_another_user(tmp_path: Path) -> None:
    async with serving(make_settings(tmp_path)) as service:
        other = await service.other("ada")
        async with AsyncClient(service.url, other.token) as client:
            assert await client.list_runs() == []
            with pytest.raises(errors.NotAllowed, match="this call is for admins, and 'ada' is none") as caught:
                await client._transport.call(Request(route="shutdown"))
    assert type(caught.value) is errors.NotAllowed
    assert isinstance(caught.value, PermissionError)


async def test_a_data_set_that_is_not_there_has_near_names(tmp_path: Path) -> None:
    async with serving(make_settings(tmp_path)) as service:
        await service.client.dataset("pairs")
        async with AsyncClient(service.url, service.client.token) as client:
            with pytest.raises(errors.DataNotFound, match=r"no data set 'pars'.* Near: 'pairs'") as caught:
                await client._transport.call(Request(route="dataset_get", parts={"name": "pars"}))
            with pytest.raises(errors.InvalidData, match="no such file, and the server has no data set 'pars'"):
                await client.fit("all-minilm-l6-v2", "pars")
    assert type(caught.value) is errors.DataNotFound
