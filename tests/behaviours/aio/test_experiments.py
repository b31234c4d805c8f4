"""Experiments: made, found, listed, used, deleted."""

from __future__ import annotations

import json

import pytest

from finetuner import errors
from finetuner.aio.client import AsyncClient
from finetuner.aio.experiment import AsyncExperiment
from finetuner.model import SynthesisModels

pytestmark = pytest.mark.anyio

ROWS = [(json.dumps({}), "x")]
LOSS = "MultipleNegativesRankingLoss"


async def test_an_experiment_is_made_once_and_found_again(client: AsyncClient) -> None:
    made = await client.create_experiment("nightly", "every night")
    assert isinstance(made, AsyncExperiment)
    assert await client.create_experiment("nightly") == made == await client.get_experiment("nightly")
    assert (made.name, made.status, made.info.description) == ("nightly", "ACTIVE", "every night")
    assert len({made, await client.get_experiment("nightly")}) == 1
    assert made != await client.create_experiment()
    assert repr(made) == "<AsyncExperiment nightly>"
    with pytest.raises(errors.ExperimentNotFound, match="Near: 'nightly'"):
        await client.get_experiment("nightli")
    with pytest.raises(errors.InvalidName):
        await client.create_experiment("a/b")


async def test_experiments_are_listed_page_by_page(client: AsyncClient) -> None:
    for number in range(3):
        await client.create_experiment(f"page-{number}")
    names = [one.name for one in await client.list_experiments()]
    assert {"page-0", "page-1", "page-2"} <= set(names)
    pages = [await client.list_experiments(page=page, size=2) for page in (1, 2)]
    assert [one.name for page in pages for one in page] == names[:4]
    with pytest.raises(errors.InvalidInput, match="size 1 to 100"):
        await client.list_experiments(size=0)


async def test_an_experiment_holds_runs_of_its_own(client: AsyncClient) -> None:
    experiment = await client.create_experiment("lab")
    run = await experiment.create_training_run("all-minilm-l6-v2", ROWS, "one", loss=LOSS, epochs=2, progress=False)
    assert (run.name, run.experiment_name, run.config["hyper_parameters"]["epochs"]) == ("one", "lab", 2)
    models = SynthesisModels("all-minilm-l6-v2", None)
    made = await experiment.create_synthesis_run(["a"], ["b", "c"], models, 2, "two", progress=False)
    assert (made.experiment_name, made.config["data"]["num_relations"]) == ("lab", 2)
    assert await experiment.list_runs() == [made, run] == await client.list_runs("lab")
    assert await experiment.list_runs(page=2, size=1) == [run]
    assert [each async for each in experiment.iter_runs()] == [made, run]
    assert await experiment.get_run("one") == run
    await experiment.delete_run("one")
    with pytest.raises(errors.RunNotFound):
        await experiment.get_run("one")
    await experiment.delete_runs()
    assert await experiment.list_runs() == []


async def test_an_experiment_is_deleted_with_its_runs(client: AsyncClient) -> None:
    experiment = await client.create_experiment("short")
    run = await experiment.create_training_run("all-minilm-l6-v2", ROWS, loss=LOSS, progress=False)
    assert await client.delete_experiment("short") == experiment
    with pytest.raises(errors.ExperimentNotFound):
        await client.get_experiment("short")
    with pytest.raises(errors.RunNotFound):
        await run.refresh()
    with pytest.raises(errors.InvalidName, match="empty"):
        await client.delete_experiment("")
    await client.create_experiment("last")
    assert "last" in [one.name for one in await client.delete_experiments()]
    assert "last" not in [one.name for one in await client.list_experiments()]
