"""What a run leaves: metrics, series, examples, the artifact."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from finetuner import errors
from finetuner.aio.client import AsyncClient
from tests.behaviours.aio.conftest import AsyncSubmit
from tests.behaviours.between import proxied
from tests.proxy_support import Fault

pytestmark = pytest.mark.anyio

LIMIT_S = 60
METRICS = {"before": {"recall_at_1": 0.25}, "after": {"recall_at_1": 0.5}}
RESULTS = [{"query": {"text": "q"}, "results": [{"text": "near", "score": 0.9}, {"text": "far", "score": 0.1}]}]


async def test_metrics_and_their_series_are_what_the_job_reported(
    submit: AsyncSubmit, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = [{"kind": "metrics", "stage": stage, "values": values} for stage, values in METRICS.items()]
    series = [
        {"kind": "metrics", "stage": "during", "step": step, "values": {"train_loss": 1 / step}} for step in (1, 2, 4)
    ]
    run = await (await submit("measured", events=[*stages, *series])).wait(LIMIT_S)
    assert await run.metrics() == METRICS
    assert run.info.metrics == METRICS
    assert (await run.history())["train_loss"] == [(1, 1.0), (2, 0.5), (4, 0.25)]
    await run.display_metrics()
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("measured", "recall_at_1", "0.25", "0.5"))


async def test_examples_are_what_the_job_reported(submit: AsyncSubmit, capsys: pytest.CaptureFixture[str]) -> None:
    event = {"kind": "examples", "stage": "after", "values": RESULTS}
    run = await (await submit("shown", events=[event])).wait(LIMIT_S)
    assert (await run.example_results())["after"] == RESULTS
    await run.display_examples(k=1)
    shown = capsys.readouterr().out
    assert "near" in shown
    assert "far" not in shown


async def test_a_run_without_results_has_none(submit: AsyncSubmit, tmp_path: Path) -> None:
    run = await submit(gate=str(tmp_path / "gate"))
    assert (await run.metrics(), await run.history(), await run.example_results()) == ({}, {}, {})
    with pytest.raises(errors.RunInProgress, match=run.name):
        await run.save_artifact(tmp_path)
    (tmp_path / "gate").touch()
    await run.wait(LIMIT_S)


async def test_an_artifact_is_saved_once_and_never_over_another_file_unasked(
    submit: AsyncSubmit, tmp_path: Path
) -> None:
    run = await (await submit("saved", artifact_bytes=300_000)).wait(LIMIT_S)
    path = Path(await run.save_artifact(tmp_path / "out", progress=False))
    with zipfile.ZipFile(path) as archive:
        assert len(archive.read("model.bin")) == 300_000
    assert list(path.parent.iterdir()) == [path]
    content, before = path.read_bytes(), path.stat()
    assert await run.save_artifact(tmp_path / "out") == str(path)
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    path.write_bytes(b"mine")
    with pytest.raises(errors.ArtifactExists, match="overwrite=True"):
        await run.save_artifact(tmp_path / "out")
    assert path.read_bytes() == b"mine"
    await run.save_artifact(tmp_path / "out", overwrite=True)
    assert path.read_bytes() == content


async def test_an_artifact_is_fetched_through_cuts(client: AsyncClient, submit: AsyncSubmit, tmp_path: Path) -> None:
    run = await (await submit("cut", artifact_bytes=1_500_000)).wait(LIMIT_S)
    whole = Path(await run.save_artifact(tmp_path / "whole")).read_bytes()
    with proxied(client.host, Fault(cut_after=600_000)) as url:
        async with AsyncClient(url, await client.get_token()) as other:
            path = await (await other.get_run("cut")).save_artifact(tmp_path / "cut")
    assert Path(path).read_bytes() == whole


async def test_an_artifact_is_described_by_its_id_without_being_fetched(
    client: AsyncClient, submit: AsyncSubmit, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    run = await submit("described", artifact_bytes=20_000, gate=str(gate))
    with pytest.raises(errors.RunInProgress, match="described"):
        await client.get_artifact(run.artifact_id)
    gate.touch()
    await run.wait(LIMIT_S)
    found = await client.get_artifact(run.artifact_id)
    assert found == await run.artifact()
    assert (found.run_name, [(file.path, file.size_bytes) for file in found.files]) == (
        "described",
        [("model.bin", 20_000)],
    )
    with pytest.raises(errors.InvalidInput, match=r"24 hexadecimal digits.*not 'described'"):
        await client.get_artifact(run.name)
    with pytest.raises(errors.ArtifactNotFound):
        await client.get_artifact("0" * 24)


async def test_what_is_no_model_is_refused(client: AsyncClient, submit: AsyncSubmit, tmp_path: Path) -> None:
    with pytest.raises(errors.ArtifactNotFound):
        await client.get_model("0" * 24)
    with pytest.raises(errors.InvalidInput, match="24 hexadecimal digits"):
        await client.get_model("no-such-file")
    with pytest.raises(errors.InvalidInput, match="select_model"):
        await client.get_model("0" * 24, select_model="clip-text")
    failed = await submit(exit=1)
    with pytest.raises(errors.RunFailed):
        await failed.wait(LIMIT_S)
    with pytest.raises(errors.RunFailed, match=failed.name):
        await client.get_model(failed)
