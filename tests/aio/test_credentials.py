"""Tokens: one a host, read by the owner alone, never sent elsewhere."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from aiohttp import web
from yarl import URL

from finetuner import errors, local
from finetuner.aio import credentials
from finetuner.aio.client import AsyncClient
from finetuner.aio.endpoint import Endpoint
from tests.aio.conftest import Home, Submit

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINETUNER_CONFIG_DIR", str(tmp_path / "config"))
    for name in ("FINETUNER_HOST", "FINETUNER_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "config" / "credentials.json"


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("http://Machine:8421/", "http://machine:8421"),
        ("machine:8421", "http://machine:8421"),
        ("https://a.example/prefix/", "https://a.example/prefix"),
        (" http://[::1]:80 ", "http://[::1]:80"),
    ],
)
def test_a_host_has_one_form(given: str, normal: str) -> None:
    assert credentials.normal_host(given) == normal


@pytest.mark.parametrize("given", ["", " ", "ftp://a", "http://", "http://a:x", "http://a b", "http://u:p@a", "a?b=c"])
def test_what_is_no_host_is_refused(given: str) -> None:
    with pytest.raises(errors.InvalidInput, match="host must be"):
        AsyncClient(given)


def test_tokens_are_kept_one_a_host_for_the_owner_alone(config: Path) -> None:
    credentials.keep("http://a:1", "one")
    credentials.keep("http://b:2", "two")
    assert credentials.token_for("http://a:1") == "one"
    assert credentials.token_for("http://b:2") == "two"
    assert credentials.token_for("http://c:3") is None
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert json.loads(config.read_bytes())["http://a:1"] == {"token": "one"}


def test_a_config_folder_that_cannot_be_written_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNER_CONFIG_DIR", "/dev/null/config")
    with pytest.raises(errors.InvalidInput, match=r"credentials\.json cannot be written .*FINETUNER_CONFIG_DIR"):
        credentials.keep("http://a:1", "one")


def test_the_environment_wins_for_its_own_host_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    credentials.keep("http://a:1", "kept")
    monkeypatch.setenv("FINETUNER_TOKEN", "from-env")
    assert credentials.token_for("http://a:1") == "from-env"
    monkeypatch.setenv("FINETUNER_HOST", "b:2")
    assert credentials.token_for("http://a:1") == "kept"
    assert credentials.token_for("http://b:2") == "from-env"
    assert not Endpoint(None, None).is_embedded


def test_a_damaged_file_is_told_and_left(config: Path) -> None:
    config.parent.mkdir(parents=True)
    config.write_text("{", encoding="utf-8")
    with pytest.raises(errors.InvalidInput, match="log in again"):
        credentials.token_for("http://a:1")
    assert config.read_text(encoding="utf-8") == "{"


def test_the_space_around_a_token_is_not_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNER_TOKEN", " from-env\n")
    assert credentials.token_for("http://a:1") == "from-env"
    assert Endpoint("http://a:1", "given\n")._find(60).token == "given"
    monkeypatch.setenv("FINETUNER_TOKEN", "\n")
    assert credentials.token_for("http://a:1") is None


async def test_a_token_that_no_header_carries_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for token in ("one\ntwo", "one two", "one\0", "\u00fcber", 3):
        with pytest.raises(errors.InvalidInput, match=r"^token ") as caught:
            AsyncClient("http://127.0.0.1:1", token)  # type: ignore[arg-type] # what a caller may get wrong
        assert str(token) not in str(caught.value)
    async with AsyncClient("http://127.0.0.1:1") as client:
        with pytest.raises(errors.InvalidInput, match=r"^token "):
            await client.login(token="one\ntwo")
        monkeypatch.setenv("FINETUNER_TOKEN", "one\ntwo")
        with pytest.raises(errors.InvalidInput, match=r"^FINETUNER_TOKEN is no token"):
            await client.list_runs()
        monkeypatch.delenv("FINETUNER_TOKEN")
        credentials.keep("http://127.0.0.1:1", "one\ntwo")
        with pytest.raises(errors.InvalidInput, match=r"credentials\.json is no token"):
            await client.list_runs()


async def test_a_redirect_never_carries_the_token_along() -> None:
    seen: list[str] = []

    async def elsewhere(request: web.Request) -> web.Response:
        seen.append(str(request.rel_url))
        raise web.HTTPTemporaryRedirect("/elsewhere")

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", elsewhere)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    async with AsyncClient(f"http://{host}:{port}", "secret") as client:
        with pytest.raises(errors.BadResponse, match="redirect to /elsewhere"):
            await client.list_runs()
        with pytest.raises(errors.BadResponse):
            await anext(client.watch())
    await runner.cleanup()
    assert not any("elsewhere" in url for url in seen)


async def test_a_server_that_wants_a_token_says_so(client: AsyncClient, home: Home) -> None:
    await client.list_runs()
    async with AsyncClient(client.host) as other:
        with pytest.raises(errors.NotLoggedIn, match="login"):
            await other.list_runs()
        with pytest.raises(errors.NotLoggedIn, match="login"):
            await other.login(interactive=False)
        with pytest.raises(errors.NotLoggedIn):
            await other.login(token="wrong")
        assert credentials.token_for(client.host) is None
        await other.login(token=await client.get_token())
        await other.list_runs()
    async with AsyncClient(client.host) as later:
        await later.login(interactive=False)
        await later.list_runs()


async def test_the_embedded_server_is_found_again_after_it_was_killed(submit: Submit, home: Home) -> None:
    run = await submit(lines=1)
    await run.wait(30)
    home.kill_server()
    assert (await run.refresh()).info.status == "FINISHED"
    assert await run.metrics() == {}


async def test_whoever_has_the_port_of_an_ended_server_is_sent_nothing(
    client: AsyncClient, submit: Submit, home: Home
) -> None:
    heard: list[str] = []

    async def hear(request: web.Request) -> web.Response:
        heard.append(f"{request.method} {request.rel_url}")
        return web.json_response({}, headers={"X-Request-Id": "x"})

    await client.list_runs()
    first = client.host
    home.kill_server()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", hear)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", URL(first).port).start()
    try:
        run = await submit(lines=1)
        await run.wait(30)
    finally:
        await runner.cleanup()
    assert heard == []
    assert client.host != first


async def test_a_server_that_ended_and_came_back_elsewhere_costs_no_call(
    client: AsyncClient, submit: Submit, home: Home
) -> None:
    await client.list_runs()
    assert local.stop_server()
    assert await (await submit(lines=1)).metrics() == {}
    assert local.stop_server()
    assert local.ensure_server().url == (await client._transport.endpoint.get(60)).url
    await (await submit(lines=1)).wait(30)
