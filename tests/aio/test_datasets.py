"""Data sets as things of their own: stored once, listed, reused by name, deleted; over a real server."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from finetuner.aio.client import AsyncClient
from finetuner.data import CSVOptions
from finetuner.errors import Conflict, DataNotFound, InvalidData, InvalidName
from tests.aio.conftest import Submit

pytestmark = pytest.mark.anyio

ROWS = [("a dog barks", "an animal"), ("it rains", "weather")]


async def test_a_data_set_is_uploaded_given_listed_and_deleted(client: AsyncClient) -> None:
    made = await client.upload_dataset(ROWS, "pairs-1")
    assert (made.name, made.kind, made.columns, made.rows) == ("pairs-1", "pairs", ("anchor", "positive"), 2)
    frame = pd.DataFrame(ROWS, columns=["anchor", "positive"])
    assert await client.upload_dataset(frame, "pairs-1") == made, "the same content under the same name is no news"
    assert (await client.upload_dataset(frame)).sha256 == made.sha256
    assert await client.get_dataset("pairs-1") == made
    assert made in await client.list_datasets()
    await client.delete_dataset("pairs-1")
    assert made not in await client.list_datasets()


async def test_names_are_checked_and_near_ones_given(client: AsyncClient) -> None:
    await client.upload_dataset(ROWS, "known")
    with pytest.raises(Conflict, match="'known' already, with other content"):
        await client.upload_dataset([("a", "b")], "known")
    for call in (client.get_dataset, client.delete_dataset):
        with pytest.raises(DataNotFound, match="Near: 'known'"):
            await call("knwon")
        with pytest.raises(InvalidName, match="data set name"):
            await call("a/b")
    with pytest.raises(InvalidName, match="data set name"):
        await client.upload_dataset(ROWS, "a/b")


async def test_data_that_cannot_be_used_is_not_stored(client: AsyncClient) -> None:
    before = await client.list_datasets()
    with pytest.raises(InvalidData, match="row 2: column 2 is empty"):
        await client.upload_dataset([("a", "b"), ("c", "")], "bad")
    with pytest.raises(InvalidData, match="two columns"):
        await client.upload_dataset(["a"], "bad", CSVOptions(is_labeled=True))
    assert await client.list_datasets() == before


async def test_a_run_that_waits_keeps_the_data_set_that_was_deleted(
    client: AsyncClient, submit: Submit, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    first = await submit(run_name="first-of-two", gate=str(gate))
    await client.upload_dataset([(json.dumps({"lines": 3}), "x")], "waited-for")
    queued = await client.fit(
        "all-minilm-l6-v2", "waited-for", run_name="second-of-two", loss="MultipleNegativesRankingLoss"
    )
    await client.delete_dataset("waited-for")
    gate.touch()
    for run in (first, queued):
        await run.wait(60)
    assert len(await queued.logs()) >= 3
