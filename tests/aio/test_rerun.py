"""Runs submitted again with changes, and what people say of a run, changed later."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from finetuner import AsyncClient, errors
from finetuner.aio.transport import Request
from finetuner.callback import EvaluationCallback, WiSEFTCallback
from finetuner.model import SynthesisModels

pytestmark = pytest.mark.anyio

MODEL = "all-minilm-l6-v2"
LOSS = "MultipleNegativesRankingLoss"
PAIRS = [('{"artifact_bytes": 5}', "x"), *((f"question {number}", f"answer {number}") for number in range(9))]
QUERIES = [(f"query {number}", f"document {number}") for number in range(4)]


async def test_a_run_is_made_again_with_its_data_and_callbacks(
    client: AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await client.fit(
        MODEL,
        PAIRS,
        loss=LOSS,
        experiment_name="again",
        description="the first",
        tags=["a", "b"],
        callbacks=[EvaluationCallback(QUERIES, limit=3), WiSEFTCallback(0.5)],
        model_options={"max_seq_length": 64},
        progress=False,
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / run.train_data).write_text("a file,that is not meant\n")
    datasets = await client.list_datasets()
    again = await client.rerun(run, epochs=2, tags=["c"])
    assert await client.list_datasets() == datasets
    assert again.name != run.name
    assert (again.experiment_name, again.info.description, again.info.tags) == ("again", "the first", ("c",))
    hyper = {**run.config["hyper_parameters"], "epochs": 2}
    assert again.config == {**run.config, "hyper_parameters": hyper, "run_name": again.name}


async def test_a_rerun_can_be_planned_and_named_and_keyed(client: AsyncClient) -> None:
    run = await client.fit(MODEL, PAIRS, loss=LOSS, progress=False)
    plan = await run.rerun(dry_run=True, batch_size=4, run_name="planned-again")
    assert (plan.run_name, plan.steps, plan.upload_bytes) == ("planned-again", 15, 0)
    first = await run.rerun(run_name="keyed-again", idempotency_key="again")
    assert await run.rerun(run_name="keyed-again", idempotency_key="again") == first
    with pytest.raises(errors.Conflict):
        await run.rerun(run_name="keyed-again", idempotency_key="again", epochs=1)


async def test_the_options_of_another_choice_are_left_behind(client: AsyncClient) -> None:
    run = await client.fit(
        MODEL,
        PAIRS,
        loss="TripletMarginLoss",
        loss_options={"margin": 0.3},
        optimizer="SGD",
        optimizer_options={"momentum": 0.5},
        progress=False,
    )
    hyper = (await run.rerun(loss=LOSS)).config["hyper_parameters"]
    assert (hyper["loss"], hyper["loss_options"], hyper["optimizer_options"]) == (LOSS, {}, {"momentum": 0.5})
    kept = (await run.rerun(loss="TripletMarginLoss")).config["hyper_parameters"]
    assert kept["loss_options"] == {"margin": 0.3}


async def test_bad_changes_are_refused_by_name(client: AsyncClient) -> None:
    run = await client.fit(MODEL, PAIRS, loss=LOSS, progress=False)
    before = await client.list_runs()
    bad: list[tuple[dict[str, Any], str]] = [
        ({"epoch": 3}, "epoch is no parameter of fit.*'epochs'"),
        ({"query_data": ["a"]}, "query_data is no parameter of fit"),
        ({"epochs": "3"}, "epochs must be a whole number"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"train_data": "nowhere.csv"}, "there is no such file"),
    ]
    for changes, message in bad:
        with pytest.raises(errors.InvalidInput, match=message):
            await run.rerun(**changes)
    await client._transport.call(Request(route="dataset_delete", parts={"name": run.train_data}))
    with pytest.raises(errors.InvalidData, match="no longer on the server"):
        await run.rerun()
    assert await client.list_runs() == before
    await run.delete()
    with pytest.raises(errors.RunNotFound):
        await run.rerun()


async def test_secrets_have_to_be_given_again(client: AsyncClient) -> None:
    run = await client.fit(MODEL, PAIRS, loss=LOSS, secrets={"MY_KEY": "hush-hush"}, progress=False)
    await run.wait(60)
    with pytest.raises(errors.InvalidInput, match="MY_KEY"):
        await run.rerun()
    again = await run.rerun(secrets={"MY_KEY": "other"})
    assert (await again.refresh()).info.secret_names == ("MY_KEY",)
    assert (await (await run.rerun(secrets={})).refresh()).info.secret_names == ()
    assert "hush" not in str((await run.refresh())._raw)


async def test_a_synthesis_run_is_made_again(client: AsyncClient) -> None:
    run = await client.synthesize(QUERIES, ["a", "b"], SynthesisModels(MODEL, None), num_relations=3, progress=False)
    again = await run.rerun(num_relations=2)
    assert again.config["data"] == {**run.config["data"], "num_relations": 2}
    assert again.config["models"] == run.config["models"]
    with pytest.raises(errors.InvalidInput, match="epochs is no parameter of synthesize"):
        await run.rerun(epochs=2)


async def test_tags_and_description_are_changed_and_found_and_told(client: AsyncClient) -> None:
    run = await client.fit(MODEL, PAIRS, loss=LOSS, tags=["old"], progress=False)
    await run.wait(60)
    async with client.watch([run]) as changes:
        assert (await anext(changes)).kind == "snapshot"
        await run.update(tags=["first"], description="the best")
        async with asyncio.timeout(60):
            change = await anext(changes)
            while change.kind != "changed":
                change = await anext(changes)
    assert change.run is not None
    assert (change.run.tags, change.run.description) == (("first",), "the best")
    assert await client.list_runs(tag="first") == [run]
    assert await client.list_runs(tag="old") == []
    await asyncio.gather(*(run.update(add_tags=[f"tag-{number}"]) for number in range(8)))
    await run.update(remove_tags=["first", "never-there"])
    fresh = (await run.refresh()).info
    assert sorted(fresh.tags) == [f"tag-{number}" for number in range(8)]
    assert (fresh.description, fresh.status) == ("the best", "FINISHED")


async def test_bad_tags_are_refused_and_nothing_changes(client: AsyncClient) -> None:
    run = await client.fit(MODEL, PAIRS, loss=LOSS, tags=["kept"], progress=False)
    cases: list[dict[str, Any]] = [
        {"tags": [""]},
        {"tags": ["x" * 129]},
        {"add_tags": ["a\n"]},
        {"description": "x" * 10_001},
    ]
    for bad in cases:
        with pytest.raises(errors.InvalidInput):
            await run.update(**bad)
    with pytest.raises(errors.InvalidInput, match="at most 64"):
        await run.update(add_tags=[f"tag {number}" for number in range(64)])
    with pytest.raises(errors.InvalidInput, match="which add_tags has too"):
        await run.update(add_tags=["a"], remove_tags=["a"])
    assert (await run.refresh()).info.tags == ("kept",)
