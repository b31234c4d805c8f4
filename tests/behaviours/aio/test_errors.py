"""Errors as a user meets them: the class, what it says, and what it carries; each by a real server or a real fault.

`tests/test_errors.py` lists which test raises which.
"""

from __future__ import annotations

import resource
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from finetuner import errors, local
from finetuner.aio.client import AsyncClient
from tests.aio.conftest import Home, home_at
from tests.behaviours.aio.conftest import AsyncSubmit
from tests.behaviours.background import AsyncBackground
from tests.behaviours.between import proxied, stranger
from tests.proxy_support import Fault

pytestmark = pytest.mark.anyio

LIMIT_S = 60
Caught = pytest.ExceptionInfo[errors.FinetunerError]


def _is(caught: Caught, kind: type[errors.FinetunerError], *words: str, **attributes: Any) -> None:
    """Look at the very class, the words of the message, and the attributes."""
    assert type(caught.value) is kind
    said = str(caught.value)
    assert not [word for word in words if word not in said], said
    assert {name: getattr(caught.value, name) for name in attributes} == attributes


async def test_a_family_is_caught_by_its_name(client: AsyncClient) -> None:
    for family in (errors.FinetunerError, errors.NotFound, LookupError):
        with pytest.raises(family, match="'nobody'"):
            await client.get_run("nobody")


async def test_refused_arguments(client: AsyncClient, tmp_path: Path) -> None:
    rows = [("a", "b")]
    with pytest.raises(errors.InvalidInput) as refused:
        await client.fit("all-minilm-l6-v2", rows, epochs=0)
    _is(refused, errors.InvalidInput, "epochs", "0")
    assert isinstance(refused.value, ValueError)
    with pytest.raises(errors.InvalidName) as named:
        await client.fit("all-minilm-l6-v2", rows, run_name="a/b")
    _is(named, errors.InvalidName, "'a/b' cannot be a run name", errors=())
    with pytest.raises(errors.ModelNotSupported) as model:
        await client.fit("resnet-base", rows)
    _is(model, errors.ModelNotSupported, "resnet-base", "image-to-image", "all-minilm-l6-v2")
    path = tmp_path / "torn.csv"
    path.write_text("a,b\nc\n")
    with pytest.raises(errors.InvalidData) as data:
        await client.fit("all-minilm-l6-v2", path)
    _is(data, errors.InvalidData, "torn.csv, line 2", path=path, line=2)


async def test_what_is_not_there(client: AsyncClient, submit: AsyncSubmit) -> None:
    run = await submit("found", experiment_name="places")
    with pytest.raises(errors.RunNotFound) as no_run:
        await client.get_run("fond", "places")
    _is(no_run, errors.RunNotFound, "no run 'fond' in experiment 'places'", "Near: 'found'")
    with pytest.raises(errors.ExperimentNotFound) as no_experiment:
        await client.get_experiment("place")
    _is(no_experiment, errors.ExperimentNotFound, "no experiment 'place'", "Near: 'places'")
    with pytest.raises(errors.ArtifactNotFound) as no_artifact:
        await client.get_model("0" * 24)
    _is(no_artifact, errors.ArtifactNotFound, "0" * 24)
    assert await run.refresh() == run


async def test_a_name_that_is_taken(submit: AsyncSubmit) -> None:
    await submit("taken")
    with pytest.raises(errors.Conflict) as caught:
        await submit("taken", lines=7)
    _is(caught, errors.Conflict, "'taken'")


async def test_a_run_that_has_not_ended(submit: AsyncSubmit, tmp_path: Path) -> None:
    run = await submit("goes-on", gate=str(tmp_path / "gate"))
    with pytest.raises(errors.RunInProgress) as going:
        await run.save_artifact(tmp_path)
    _is(going, errors.RunInProgress, "'goes-on'")
    with pytest.raises(errors.WaitTimeout) as late:
        await run.wait(0.1)
    _is(late, errors.WaitTimeout, "goes-on had not ended after 0.1 s", "nothing was stopped")
    assert isinstance(late.value, TimeoutError)
    waiting = AsyncBackground(run.wait, LIMIT_S)
    async with run.stream_logs() as log:
        reading = AsyncBackground(log.__anext__)
        await run.delete()
        with pytest.raises((errors.RunDeleted, errors.RunNotFound)):
            await reading.result()
    with pytest.raises(errors.RunDeleted) as gone:
        await waiting.result()
    _is(gone, errors.RunDeleted, "run 'goes-on' was deleted")


async def test_a_run_that_failed(submit: AsyncSubmit) -> None:
    event = {"kind": "failure", "type": "KeyError", "message": "no label", "hint": "add one", "traceback": "T"}
    run = await submit("fails", lines=30, events=[event], exit=3)
    with pytest.raises(errors.RunFailed) as caught:
        await run.wait(LIMIT_S)
    _is(caught, errors.RunFailed, "run 'fails' failed", "no label", "add one", run_name="fails")
    failure = caught.value.failure
    assert (failure.type, failure.message, failure.hint, failure.traceback) == ("KeyError", "no label", "add one", "T")
    assert (failure.exit_code, failure.signal, len(failure.last_lines)) == (3, None, 20)


async def test_a_run_listed_without_its_config(client: AsyncClient, submit: AsyncSubmit) -> None:
    await submit("light")
    (run,) = await client.list_runs(name_prefix="light", with_config=False)
    with pytest.raises(errors.NotLoaded) as caught:
        assert run.config
    _is(caught, errors.NotLoaded, "'light' was listed without its config", "refresh()")


async def test_a_log_that_is_too_large_or_too_short(submit: AsyncSubmit) -> None:
    run = await (await submit("written", lines=100)).wait(LIMIT_S)
    with pytest.raises(errors.LogTooLarge) as large:
        await run.logs(max_bytes=10)
    _is(large, errors.LogTooLarge, "the log of written has", "max_bytes=10", "tail=", "stream_logs()")
    async with run.stream_logs(after=10**6) as log:
        with pytest.raises(errors.LogTruncated) as short:
            await anext(log)
    _is(short, errors.LogTruncated, "1000000")


async def test_an_artifact_that_cannot_be_saved(submit: AsyncSubmit, home: Home, tmp_path: Path) -> None:
    run = await (await submit("kept", artifact_bytes=300_000)).wait(LIMIT_S)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # no file grows further, which is as a full disk is
    try:
        with pytest.raises(errors.StorageFull) as full:
            await run.save_artifact(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    _is(full, errors.StorageFull, "there is no room for", "kept.zip", status=None)
    path = Path(await run.save_artifact(tmp_path))
    content = path.read_bytes()
    path.write_bytes(b"mine")
    with pytest.raises(errors.ArtifactExists) as exists:
        await run.save_artifact(tmp_path)
    _is(exists, errors.ArtifactExists, str(path), "overwrite=True")
    for stored in home.state.rglob("*"):
        if stored.is_file() and stored.stat().st_size == len(content) and stored.read_bytes() == content:
            stored.chmod(0o600)
            stored.write_bytes(b"x" * len(content))
    with pytest.raises(errors.ArtifactCorrupt) as corrupt:
        await run.save_artifact(tmp_path / "again")
    _is(corrupt, errors.ArtifactCorrupt, "kept.zip")
    assert not list((tmp_path / "again").glob("*.zip"))


async def test_a_client_without_a_token(client: AsyncClient) -> None:
    await client.list_runs()
    async with AsyncClient(client.host) as other:
        with pytest.raises(errors.NotLoggedIn) as caught:
            await other.list_runs()
    _is(caught, errors.NotLoggedIn, f"finetuner.login(host='{client.host}', token=...)", "FINETUNER_TOKEN")
    assert isinstance(caught.value, PermissionError)


async def test_an_answer_that_is_lost_carries_the_key_of_its_run(client: AsyncClient, submit: AsyncSubmit) -> None:
    data, loss = (await submit()).train_data, "MultipleNegativesRankingLoss"
    with proxied(client.host, Fault(lose_answer_to=b"POST")) as url:
        async with AsyncClient(url, await client.get_token(), timeout_s=4) as other:
            with pytest.raises(errors.ServerUnavailable) as caught:
                await other.fit("all-minilm-l6-v2", data, loss=loss, run_name="once")
    _is(caught, errors.ServerUnavailable, "POST", status=None)
    key = caught.value.idempotency_key
    assert key
    run = await client.fit("all-minilm-l6-v2", data, loss=loss, run_name="once", idempotency_key=key)
    assert await client.list_runs(name_prefix="once") == [run]


async def test_a_server_with_a_fault(tmp_path: Path) -> None:
    with home_at(tmp_path) as home:
        local.ensure_server()
        async with AsyncClient(timeout_s=4) as client:
            database = sqlite3.connect(home.state / "v1" / "finetuner.db")
            database.execute("ALTER TABLE datasets RENAME TO elsewhere")
            database.close()
            with pytest.raises(errors.ServerError) as caught:
                await client.list_datasets()
    _is(caught, errors.ServerError, "GET", "datasets", f"request {caught.value.request_id}", status=500)


async def test_an_answer_of_a_stranger() -> None:
    with stranger(200, b"<html>", {"X-Request-Id": "r-1"}) as url:
        async with AsyncClient(url, "a-token") as client:
            with pytest.raises(errors.BadResponse) as bad:
                await client.list_runs()
    _is(bad, errors.BadResponse, "not JSON", status=200, request_id="r-1")
    with stranger(429, b"", {"Retry-After": "120"}) as url:
        async with AsyncClient(url, "a-token") as client:
            with pytest.raises(errors.RateLimited) as limited:
                await client.list_runs()
    _is(limited, errors.RateLimited, url, "too many requests", retry_after_s=120.0, status=429)


async def test_an_embedded_server_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with home_at(tmp_path / "damaged") as home:
        database = home.state / "v1" / "finetuner.db"
        database.parent.mkdir(parents=True)
        database.write_bytes(b"this is no database " * 100)
        async with AsyncClient() as client:
            with pytest.raises(errors.StateCorrupt) as corrupt:
                await client.list_runs()
        _is(corrupt, errors.StateCorrupt, str(database), "left as it is")
    with home_at(tmp_path / "wrong", FINETUNER_JOB_ARGV="no JSON"):
        async with AsyncClient() as client:
            with pytest.raises(errors.ServerStartFailed) as failed:
                await client.list_runs()
    _is(failed, errors.ServerStartFailed, "FINETUNER_JOB_ARGV must be a JSON list")
    assert any("FINETUNER_JOB_ARGV" in line for line in failed.value.log)
    with home_at(tmp_path / "bare"), monkeypatch.context() as patch:
        patch.delenv("FINETUNER_JOB_ARGV")
        patch.setitem(sys.modules, "torch", None)  # Python's own way to say that it cannot be imported
        async with AsyncClient() as client:
            with pytest.raises(errors.MissingExtra) as missing:
                await client.list_runs()
    _is(missing, errors.MissingExtra, "torch", 'pip install "finetuner[local]"')
    with home_at(tmp_path / "old"), monkeypatch.context() as patch:
        local.ensure_server()
        patch.setattr(local, "API_MIN", 98)  # what a client of a later version would want
        patch.setattr(local, "API_VERSION", 99)
        async with AsyncClient() as client:
            with pytest.raises(errors.ServerTooOld) as old:
                await client.list_runs()
    _is(old, errors.ServerTooOld, "does not speak")
