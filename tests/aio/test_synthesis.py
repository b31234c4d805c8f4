"""Synthesis through the SDK: what is sent, what is refused before anything is created, and training on the result."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

import finetuner
from finetuner import CSVOptions, errors
from finetuner.aio.client import AsyncClient
from finetuner.aio.run import AsyncRun
from finetuner.model import SynthesisModels, synthesis_model_en, synthesis_model_multi
from tests.aio.conftest import Home, Submit

pytestmark = pytest.mark.anyio

CORPUS = ["a dog barks", "it rains", "bread is baked"]
ROWS = [['{"lines": 1}', "a dog barks", "it rains", "0.5"], ['{"lines": 1}', "a dog barks", "bread is baked", "0.25"]]
LOSS = "MarginMSELoss"
MODELS = SynthesisModels("all-minilm-l6-v2", None)


async def _made(client: AsyncClient, name: str, **wish: Any) -> AsyncRun:
    queries = [json.dumps({"rows": ROWS, **wish})]
    return await client.synthesize(queries, CORPUS, MODELS, run_name=name, progress=False)


async def _fit(client: AsyncClient, train_data: Any, **wish: Any) -> AsyncRun:
    run: AsyncRun = await client.fit("all-minilm-l6-v2", train_data, loss=LOSS, progress=False, **wish)
    return run


async def test_a_synthesis_from_its_submission_to_a_training_on_it(
    client: AsyncClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = await _made(client, "whole", lines=2)
    assert made.info.task == "generation"
    assert made.config["models"] == {"relation_miner": ["all-minilm-l6-v2"], "cross_encoder": None}
    assert made.config["data"]["num_relations"] == 10
    assert (made.train_data, await made.metrics(), await made.example_results()) == ("", {}, {})
    await made.wait(60)
    path = Path(await made.save_artifact(tmp_path))
    assert zipfile.is_zipfile(path)
    for train_data in (made, made.artifact_id, str(path), path):
        run = await _fit(client, train_data)
        await run.wait(60)
    assert [one.name for one in await client.list_runs(task="generation", name_prefix="whole")] == ["whole"]
    by_id = await _fit(client, made.artifact_id, run_name="by-id")
    assert by_id.train_data == made.artifact_id
    assert "trains on" in (await (await by_id.wait(60)).logs())[0]
    await made.display_metrics()
    await made.display_examples()
    said = " ".join(capsys.readouterr().out.split())
    assert "whole is a synthesis run: it has training data, no metrics" in said
    assert "no examples" in said


async def test_a_part_of_the_zip_is_trained_on_and_of_an_id_refused(client: AsyncClient, tmp_path: Path) -> None:
    made = await (await _made(client, "part")).wait(60)
    path = await made.save_artifact(tmp_path)
    run = await _fit(client, path, csv_options=CSVOptions(size=1))
    (data,) = [one for one in await client.list_datasets() if one.name == run.train_data]
    assert (data.kind, data.rows) == ("margins", 1)
    with pytest.raises(errors.InvalidData, match="taken whole"):
        await _fit(client, made, csv_options=CSVOptions(size=1))


async def test_what_is_no_training_data_is_refused_before_a_run_is_made(
    client: AsyncClient, submit: Submit, tmp_path: Path
) -> None:
    tuned = await (await submit(run_name="tuned", artifact_bytes=100)).wait(60)
    waits = await _made(client, "waits", gate=str(tmp_path / "gate"))
    before = await client.list_runs(task="training")
    with pytest.raises(errors.RunInProgress, match="'waits'"):
        await _fit(client, waits)
    (tmp_path / "gate").touch()
    with pytest.raises(errors.InvalidData, match=r"run 'tuned' is a model.*model_artifact"):
        await _fit(client, tuned)
    with pytest.raises(errors.InvalidData, match="no zip of a synthesis run"):
        await _fit(client, await tuned.save_artifact(tmp_path))
    with pytest.raises(errors.ArtifactNotFound):
        await _fit(client, "0" * 24)
    failed = await _made(client, "failed", exit=1)
    with pytest.raises(errors.RunFailed):
        await failed.wait(60)
    with pytest.raises(errors.RunFailed, match="'failed' left no artifact"):
        await _fit(client, failed)
    damaged = await (await waits.wait(60)).save_artifact(tmp_path)
    content = Path(damaged).read_bytes().replace(b"it rains", b"it snows")
    Path(damaged).write_bytes(content)
    with pytest.raises(errors.InvalidData, match=r"not a whole zip|is damaged"):
        await _fit(client, damaged)
    assert await client.list_runs(task="training") == before


async def test_training_data_is_no_model(client: AsyncClient, tmp_path: Path) -> None:
    made = await (await _made(client, "no-model")).wait(60)
    path = await made.save_artifact(tmp_path)
    for artifact in (made, made.artifact_id, path):
        with pytest.raises(errors.InvalidInput, match="training data of a synthesis run, no model"):
            await client.get_model(artifact)
    with pytest.raises(errors.InvalidInput, match=r"run 'no-model' is the training data of a synthesis run, no model"):
        await client.synthesize(["a"], CORPUS, SynthesisModels(made, None))


async def test_a_run_mines_and_an_experiment_synthesizes(client: AsyncClient, submit: Submit) -> None:
    tuned = await (await submit(artifact_bytes=100)).wait(60)
    experiment = await client.create_experiment("syntheses")
    wish = json.dumps({"rows": ROWS})
    made = await experiment.create_synthesis_run(
        [(wish, "an answer")], CORPUS, SynthesisModels(["all-minilm-l6-v2", tuned], None), num_relations=2
    )
    assert made.experiment_name == "syntheses"
    assert made.config["models"]["relation_miner"] == ["all-minilm-l6-v2", tuned.artifact_id]
    assert made.config["data"]["num_relations"] == 2
    await made.wait(60)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"models": "all-minilm-l6-v2"}, "models must be"),
    ({"models": SynthesisModels("all-minilm", None)}, "Near: 'all-minilm-l6-v2'"),
    ({"models": SynthesisModels("resnet-base", None)}, "cannot be trained"),
    ({"models": SynthesisModels("all-minilm-l6-v2", "cross-encoder/ms-marco MiniLM-L6-v2")}, "Near: 'cross-encoder"),
    ({"models": SynthesisModels([], None)}, "1 to 8 models"),
    ({"num_relations": 0}, "1 to 1000"),
    ({"query_data": [("a", "b", "c")]}, "query_data must have one column"),
    ({"query_data": [("a", "b"), ("c",)]}, "row 2: there is 1 column"),
    ({"corpus_data": [("a", "b")]}, "corpus_data must have one column"),
    ({"corpus_data": []}, "no row of data"),
    ({"run_name": "a/b"}, "cannot be a run name"),
]


@pytest.mark.parametrize(("wish", "said"), BAD, ids=[said for _, said in BAD])
async def test_bad_input_creates_nothing(client: AsyncClient, wish: dict[str, Any], said: str) -> None:
    before = (await client.list_runs(), await client.list_datasets())
    with pytest.raises(errors.InvalidInput, match=said):
        await client.synthesize(
            **{"query_data": ["a"], "corpus_data": CORPUS, "models": MODELS, "progress": False, **wish}
        )
    assert (await client.list_runs(), await client.list_datasets()) == before


async def test_a_column_too_many_is_named_with_its_line(client: AsyncClient, tmp_path: Path) -> None:
    path = tmp_path / "queries.csv"
    path.write_text("query,document,text\none,two,three\n", encoding="utf-8")
    with pytest.raises(errors.InvalidData, match=r"queries\.csv, line 1: a header, and its columns") as caught:
        await client.synthesize(path, CORPUS, MODELS, progress=False)
    assert (caught.value.path, caught.value.line) == (path, 1)


@pytest.fixture
def facade(home: Home) -> Iterator[None]:
    """The functions of the package, on this module's server."""
    yield
    finetuner.close()


async def test_the_functions_of_the_package_do_the_same(facade: None) -> None:
    def script() -> str:
        made = finetuner.synthesize([json.dumps({"rows": ROWS})], CORPUS, MODELS, progress=False)
        assert isinstance(made, finetuner.run.Run)
        assert finetuner.create_synthesis_run(["a"], CORPUS, SynthesisModels(Path("tuned"), None)).config["models"] == {
            "relation_miner": ["./tuned"],
            "cross_encoder": None,
        }
        made.wait(60)
        run = finetuner.fit("all-minilm-l6-v2", made, loss=LOSS, progress=False)
        assert SynthesisModels([made, run], None).relation_miner == (made.artifact_id, run.artifact_id)
        return str(run.wait(60).status())

    assert await anyio.to_thread.run_sync(script) == "FINISHED"


def test_ready_made_models_are_those_of_the_old_client() -> None:
    assert synthesis_model_en.relation_miner == ("sbert-base-en",)
    assert synthesis_model_en.cross_encoder == "cross-encoder/ms-marco-MiniLM-L6-v2"
    assert synthesis_model_multi.relation_miner == ("distiluse-base-multi",)
    assert synthesis_model_multi.cross_encoder == "cross-encoder/mmarco-mMiniLMv2-L12-H384-v1"


@pytest.mark.parametrize("bad", [None, "", " ", 5, ["all-minilm-l6-v2", None]])
def test_what_is_no_model_is_refused(bad: Any) -> None:
    with pytest.raises(errors.InvalidInput, match="a model is a name, a folder, a run or its artifact_id"):
        SynthesisModels(bad, None)
