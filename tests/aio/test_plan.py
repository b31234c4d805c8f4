"""Plans: what a submission would do, checked as one, and nothing made."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from finetuner import AsyncClient, errors
from finetuner.api.plan import Plan
from finetuner.callback import EarlyStopping, EvaluationCallback
from finetuner.data import CSVOptions
from finetuner.model import SynthesisModels
from tests.aio.conftest import Home
from tests.aio.test_notebook import page

pytestmark = pytest.mark.anyio

MODEL = "all-minilm-l6-v2"
LOSS = "MultipleNegativesRankingLoss"
PAIRS = [(f"question {number}", f"answer {number}") for number in range(25)]


async def _everything(client: AsyncClient) -> tuple[Any, ...]:
    experiments = [experiment.name for experiment in await client.list_experiments()]
    return await client.list_runs(), await client.list_datasets(), experiments


async def test_a_plan_tells_all_and_makes_nothing(client: AsyncClient) -> None:
    before = await _everything(client)
    plan = await client.fit(
        MODEL,
        PAIRS,
        loss=LOSS,
        batch_size=4,
        epochs=3,
        val_split=0.2,
        experiment_name="never-made",
        callbacks=[EvaluationCallback(PAIRS[:7]), EarlyStopping()],
        dry_run=True,
    )
    assert await _everything(client) == before
    assert (plan.examples, plan.steps_per_epoch, plan.steps) == (20, 5, 15)
    assert plan.config["hyper_parameters"]["learning_rate"] == 1e-5
    assert plan.config["experiment_name"] == plan.experiment_name == "never-made"
    assert [(one.field, one.kind, one.rows, one.is_uploaded) for one in plan.data] == [
        ("train_data", "pairs", 25, False),
        ("callbacks[0].query_data", "pairs", 7, False),
    ]
    assert plan.upload_bytes == sum(one.size_bytes for one in plan.data)
    assert plan.estimate is None
    assert "EarlyStopping" in plan.warnings[0]
    assert "20 examples in batches of 4: 5 steps an epoch, 15 in 3 epochs" in str(plan)
    assert "20 examples in batches of 4: 5 steps an epoch, 15 in 3 epochs" in page(plan._repr_html_()).text
    assert "15 in 3 epochs" in repr(plan)


async def test_a_plan_agrees_with_the_run_that_is_then_made(client: AsyncClient) -> None:
    wish: dict[str, Any] = {"loss": LOSS, "run_name": "planned-run", "progress": False}
    plan = await client.fit(MODEL, PAIRS, **wish, dry_run=True)
    run = await client.fit(MODEL, PAIRS, **wish)
    assert run.config == plan.config
    again = await client.fit(MODEL, PAIRS, loss=LOSS, dry_run=True)
    assert (again.upload_bytes, again.run_name, again.data[0].is_uploaded) == (0, None, True)
    by_name = await client.fit(MODEL, run.train_data, loss=LOSS, val_split=0.1, dry_run=True)
    assert (by_name.examples, by_name.data[0].rows) == (23, 25)


async def test_labelled_data_that_the_server_has_is_counted_there(client: AsyncClient) -> None:
    rows = [(f"text {number}", f"label {number % 4}") for number in range(18)] + [("alone", "one of its kind")]
    options = CSVOptions(is_labeled=True)
    here = await client.fit(MODEL, rows, loss=LOSS, csv_options=options, dry_run=True)
    run = await client.fit(MODEL, rows, loss=LOSS, csv_options=options, progress=False)
    there = await client.fit(MODEL, run.train_data, loss=LOSS, dry_run=True)
    assert here.examples == there.examples == 18
    assert here.data[0].classes == there.data[0].classes == 5


async def test_classes_smaller_than_was_asked_for_are_told(client: AsyncClient) -> None:
    rows = [(f"text {number}", f"label {number % 6}") for number in range(12)]
    told = "num_items_per_class is 4, and the largest class has 2 texts"
    wish: dict[str, Any] = {"csv_options": CSVOptions(is_labeled=True), "progress": False}
    assert told in (await client.fit(MODEL, rows, **wish, dry_run=True)).warnings[0]
    assert (await client.fit(MODEL, rows, num_items_per_class=2, **wish, dry_run=True)).warnings == ()
    assert (await client.fit(MODEL, rows, sampler="random", **wish, dry_run=True)).warnings == ()
    run = await client.fit(MODEL, rows, **wish)
    assert told in (await client.fit(MODEL, run.train_data, dry_run=True)).warnings[0]


async def test_one_of_each_is_told_as_one(client: AsyncClient) -> None:
    plan = await client.fit(MODEL, PAIRS[:2], loss=LOSS, epochs=1, dry_run=True)
    assert "2 examples in batches of 64: 1 step an epoch, 1 in 1 epoch" in str(plan)


async def test_a_synthesis_has_a_plan_too(client: AsyncClient) -> None:
    before = await _everything(client)
    models = SynthesisModels([MODEL, "bert-base-en"], None)
    plan = await client.synthesize(["one", "two"], ["a", "b", "c"], models, num_relations=2, dry_run=True)
    assert await _everything(client) == before
    assert (plan.rows_at_most, plan.steps) == (10, None)
    assert "10 rows at most" in str(plan)
    assert MODEL in repr(plan)


@pytest.mark.parametrize(
    ("bad", "kind", "message"),
    [
        ({"epochs": 0}, errors.InvalidInput, "epochs"),
        ({"loss": "TripletMargin"}, errors.InvalidInput, "TripletMarginLoss"),
        ({"model_artifact": "0" * 24}, errors.InvalidInput, "there is no artifact"),
        ({"run_name": "taken"}, errors.Conflict, "taken"),
        ({"run_name": "taken", "idempotency_key": "fresh"}, errors.Conflict, "'taken-2' is free"),
        ({"train_data": "no-such-file.csv"}, errors.InvalidData, "no such file"),
        ({"loss": "CosineSimilarityLoss"}, errors.InvalidData, "cannot be trained on pairs"),
        ({"batch_size": 1}, errors.InvalidInput, "batch_size must be 2 at least"),
        ({"train_data": PAIRS[:1], "val_split": 0.5}, errors.InvalidData, "one row alone"),
        ({"tags": [""]}, errors.InvalidInput, "tags"),
    ],
)
async def test_a_plan_is_refused_as_the_run_would_be(
    client: AsyncClient, bad: dict[str, Any], kind: type[Exception], message: str
) -> None:
    if not await client.list_runs(name_prefix="taken"):
        await client.fit(MODEL, PAIRS[:3], loss=LOSS, run_name="taken", progress=False)
    before = await _everything(client)
    for dry_run in (True, False):
        with pytest.raises(kind, match=message):
            await client.fit(**{"model": MODEL, "train_data": PAIRS, "loss": LOSS, "dry_run": dry_run, **bad})
    runs, _, experiments = await _everything(client)
    assert (runs, experiments) == (before[0], before[2])


async def test_a_key_is_looked_at_and_not_used(client: AsyncClient) -> None:
    wish: dict[str, Any] = {"loss": LOSS, "idempotency_key": "planned", "progress": False}
    assert (await client.fit(MODEL, PAIRS, **wish, dry_run=True)).existing_run is None
    run = await client.fit(MODEL, PAIRS, **wish)
    plan = await client.fit(MODEL, PAIRS, **wish, dry_run=True)
    assert plan.existing_run == run.name
    assert run.name in str(plan)
    for dry_run in (True, False):
        with pytest.raises(errors.Conflict, match="planned"):
            await client.fit(MODEL, PAIRS, epochs=2, **wish, dry_run=dry_run)


async def test_an_open_file_can_be_submitted_after_its_plan(client: AsyncClient, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("".join(f"{one},{other}\n" for one, other in PAIRS))
    with (tmp_path / "pairs.csv").open() as file:
        plan = await client.fit(MODEL, file, loss=LOSS, dry_run=True)
        run = await client.fit(MODEL, file, loss=LOSS, progress=False)
    assert plan.data[0].name == run.train_data
    text = io.StringIO("a,b\nc,d\n")
    assert (await client.fit(MODEL, text, loss=LOSS, dry_run=True)).examples == 2
    assert text.tell() == 0


async def test_an_estimate_stands_on_finished_runs_of_the_same_kind(client: AsyncClient) -> None:
    saving = {"kind": "progress", "phase": "saving", "step": 10, "steps": 10, "examples_per_s": 40.0}
    for number in range(2):
        wish = json.dumps({"events": [saving], "artifact_bytes": number + 5})
        run = await client.fit(MODEL, [(wish, "x")], loss=LOSS, batch_size=8, progress=False)
        await run.wait(60)
        assert run.info.progress is not None
        assert run.info.progress.examples_per_s == saving["examples_per_s"]
    like = await client.fit(MODEL, PAIRS, loss=LOSS, batch_size=8, epochs=10, dry_run=True)
    assert like.estimate is not None
    assert like.estimate.runs == 2
    assert like.estimate.seconds >= 40 * 8 / 40
    assert "2 finished runs like it" in str(like)
    others: list[dict[str, Any]] = [{"batch_size": 32}, {"model": "bert-base-en"}]
    for other in others:
        unlike: Plan = await client.fit(**{"model": MODEL, "train_data": PAIRS, "loss": LOSS, "dry_run": True, **other})
        assert unlike.estimate is None


async def test_what_the_server_plans_is_its_own(client: AsyncClient, home: Home) -> None:
    del home
    plan = await client.fit(MODEL, PAIRS, loss=LOSS, device="cuda", dry_run=True)
    assert plan.device == "cpu"
    assert plan.config["hyper_parameters"]["batch_size"] == plan.batch_size == 64
