"""Clients, runs and experiments as Python objects: contexts, equality, what needs no request."""

from __future__ import annotations

from typing import Any

import pytest

from finetuner import callback, errors
from finetuner.aio.client import AsyncClient
from finetuner.aio.run import AsyncRun
from tests.aio.conftest import Home
from tests.behaviours.aio.conftest import AsyncSubmit

pytestmark = pytest.mark.anyio


async def test_a_client_is_closed_by_its_block_and_says_so(home: Home) -> None:
    async with AsyncClient() as client:
        assert client.host == "the embedded server"
        await client.list_runs()
        assert client.host.startswith("http://127.0.0.1:")
        assert repr(client) == f"<AsyncClient of {client.host}>"
    with pytest.raises(RuntimeError, match="closed"):
        await client.list_runs()
    await client.aclose()


async def test_a_client_of_a_host_needs_its_token(client: AsyncClient) -> None:
    token = await client.get_token()
    async with AsyncClient(client.host, token, timeout_s=30, connections=1) as other:
        assert await other.get_token() == token
        assert await other.list_runs() == await client.list_runs()
    async with AsyncClient(client.host) as other:
        with pytest.raises(errors.NotLoggedIn, match="login"):
            await other.get_token()
        with pytest.raises(errors.NotLoggedIn, match="finetuner server user add"):
            await other.login(interactive=False)


@pytest.mark.parametrize(
    ("bad", "said"),
    [({"timeout_s": 0}, "timeout_s"), ({"connections": 0}, "connections"), ({"host": "ftp://a"}, "host must be")],
    ids=str,
)
def test_a_client_of_what_cannot_be_is_refused(bad: dict[str, Any], said: str) -> None:
    with pytest.raises(errors.InvalidInput, match=said):
        AsyncClient(**bad)


async def test_runs_are_equal_when_their_ids_are(client: AsyncClient, submit: AsyncSubmit) -> None:
    first, second = await submit(), await submit()
    again = await client.get_run_by_id(first.id)
    assert first == again != second
    assert first is not again
    assert {first, again, second} == {first, second}
    assert first != first.id
    assert len(first.id) == len(first.artifact_id) == 24


async def test_what_a_run_says_of_itself_costs_no_request(client: AsyncClient, submit: AsyncSubmit) -> None:
    name = (await submit(experiment_name="quiet")).name
    async with AsyncClient(client.host, await client.get_token()) as other:
        run = await other.get_run(name, "quiet")
    assert isinstance(run, AsyncRun)
    assert (run.name, run.experiment_name, run.info.name) == (name, "quiet", name)
    assert run.config["data"]["train_data"] == run.train_data
    run.config["data"].clear()
    assert run.config["data"]
    assert repr(run).startswith(f"<AsyncRun quiet/{name} ")
    with pytest.raises(RuntimeError, match="closed"):
        await run.status()


async def test_what_there_is_to_choose_from_is_listed(client: AsyncClient, capsys: pytest.CaptureFixture[str]) -> None:
    assert {"all-minilm-l6-v2", "bert-base-en"} <= set(client.list_models())
    assert "resnet-base" not in client.list_models()
    assert client.list_callbacks()["EarlyStopping"] is callback.EarlyStopping
    assert set(client.list_model_options()) == set(client.list_models())
    client.describe_models("text-to-text")
    assert "all-minilm-l6-v2" in capsys.readouterr().out


async def test_a_link_leads_to_the_page_of_a_run(client: AsyncClient, submit: AsyncSubmit) -> None:
    run = await submit()
    links = [await client.console_url(run), await client.console_url()]
    assert all(link.startswith(f"{client.host}/console/") for link in links)
    assert len(set(links)) == 2
