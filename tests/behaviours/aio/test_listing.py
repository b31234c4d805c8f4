"""Finding runs: by name, by id, in lists, page by page, and deleting them."""

from __future__ import annotations

from typing import Any

import pytest

from finetuner import errors
from finetuner.aio.client import AsyncClient
from finetuner.aio.listing import AsyncRunIterator
from finetuner.aio.run import AsyncRun
from finetuner.api.types import RunStatus
from tests.behaviours.aio.conftest import AsyncSubmit

pytestmark = pytest.mark.anyio

LIMIT_S = 60


async def test_a_run_is_found_by_its_name_and_by_its_id(client: AsyncClient, submit: AsyncSubmit) -> None:
    made = await submit("found", experiment_name="places")
    for found in (await client.get_run("found", "places"), await client.get_run_by_id(made.id)):
        assert isinstance(found, AsyncRun)
        assert (found.name, found.experiment_name, found.config) == ("found", "places", made.config)
    with pytest.raises(errors.RunNotFound, match="experiment 'default'"):
        await client.get_run("found")


async def test_a_list_has_each_run_once_newest_first(client: AsyncClient, submit: AsyncSubmit) -> None:
    made = [await submit(f"listed-{number}", tags=["listed", f"t{number % 2}"]) for number in range(5)]
    assert await client.list_runs(name_prefix="listed-") == made[::-1]
    assert [run async for run in client.iter_runs(name_prefix="listed-")] == made[::-1]
    assert await client.list_runs(tag=["listed", "t1"]) == [made[3], made[1]]
    assert await client.list_runs(tag="listed", page=2, size=2) == [made[2], made[1]]
    with pytest.raises(errors.ExperimentNotFound, match="no-such-experiment"):
        await client.list_runs("no-such-experiment")
    await client.wait_all(made, LIMIT_S)
    ended = await client.list_runs(status=["FAILED", RunStatus.FINISHED], task="training", tag="listed")
    assert [run.info.status for run in ended] == [RunStatus.FINISHED] * 5


async def test_a_list_can_be_left_early_and_read_again(client: AsyncClient, submit: AsyncSubmit) -> None:
    made = [await submit(f"left-{number}") for number in range(3)]
    async with client.iter_runs(name_prefix="left-") as runs:
        assert isinstance(runs, AsyncRunIterator)
        assert await anext(runs) == made[2]
    with pytest.raises(StopAsyncIteration):
        await anext(runs)
    assert [run async for run in client.iter_runs(name_prefix="left-")] == made[::-1]


async def test_runs_are_deleted_one_by_one_or_those_of_an_experiment(client: AsyncClient, submit: AsyncSubmit) -> None:
    made = [await submit(f"gone-{number}", experiment_name="going") for number in range(3)]
    other = await submit("stays")
    await client.delete_run("gone-0", "going")
    await made[1].delete()
    assert await client.list_runs("going") == [made[2]]
    await client.delete_runs("going")
    assert await client.list_runs("going") == []
    assert await other.refresh() == other
    for gone in made:
        with pytest.raises(errors.RunNotFound):
            await gone.refresh()


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"page": 0}, "page must be 1 or more"),
        ({"size": 101}, "size 1 to 100"),
        ({"page": "2"}, "page must be a whole number"),
        ({"status": "ENDED"}, "CREATED, STARTED, FINISHED, FAILED"),
        ({"tag": 5}, "tag must be"),
        ({"experiment_name": ""}, "empty"),
    ],
    ids=str,
)
async def test_a_list_of_what_cannot_be_is_refused(client: AsyncClient, bad: dict[str, Any], said: str) -> None:
    with pytest.raises(errors.InvalidInput, match=said):
        await client.list_runs(**bad)


@pytest.mark.parametrize("name", ["", "a/b", "-a", "x" * 129])
async def test_a_name_that_no_run_has_is_refused_before_it_is_sent(client: AsyncClient, name: str) -> None:
    with pytest.raises(errors.InvalidName):
        await client.get_run(name)
    with pytest.raises(errors.InvalidName):
        await client.delete_run(name)
    with pytest.raises(errors.InvalidName):
        await client.delete_runs(name)
