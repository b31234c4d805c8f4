"""The client against a real server: submit, list, wait, watch, fetch, refuse."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from finetuner import errors, local
from finetuner.aio import transfer
from finetuner.aio.client import AsyncClient
from finetuner.aio.run import AsyncRun
from finetuner.api.types import RunStatus
from finetuner.callback import CustomCallback, EvaluationCallback, WandBLogger
from tests.aio.conftest import Home, Submit, submit_to
from tests.portal.scripts import run as run_script
from tests.proxy_support import Fault, FaultProxy

pytestmark = pytest.mark.anyio


async def test_a_run_from_its_submission_to_its_artifact(
    client: AsyncClient, submit: Submit, home: Home, tmp_path: Path
) -> None:
    metrics = {"before": {"recall_at_1": 0.25}, "after": {"recall_at_1": 0.5}}
    events = [{"kind": "metrics", "stage": stage, "values": values} for stage, values in metrics.items()]
    run = await submit(run_name="whole", lines=4, events=events, artifact_bytes=300_000, tags=["a", "b"])
    assert run.config["run_name"] == "whole"
    assert run.config["data"]["train_data"] == run.train_data
    assert run.info.tags == ("a", "b")
    assert await run.wait(60) is run
    assert run.info.status is RunStatus.FINISHED
    assert f"{await run.status()}" == "FINISHED"
    assert await run.metrics() == metrics
    assert await run.logs() == home.log_lines(run)
    assert await run.logs(tail=2) == home.log_lines(run)[-2:]
    assert await run.logs(contains="3 ") == [line for line in home.log_lines(run) if "3 " in line]
    path = Path(await run.save_artifact(tmp_path / "out"))
    assert path == tmp_path / "out" / "whole.zip"
    assert list(path.parent.iterdir()) == [path]
    assert repr(run).startswith("<AsyncRun whole FINISHED")
    same = await client.get_run("whole")
    assert same == run
    assert len({same, run, await client.get_run_by_id(run.id)}) == 1


async def test_the_list_is_exact_and_costs_one_request_a_page(client: AsyncClient, submit: Submit) -> None:
    made = [await submit(run_name=f"listed-{number}", tags=["listed"]) for number in range(5)]
    names = [run.name for run in await client.list_runs(name_prefix="listed-")]
    assert names == [run.name for run in reversed(made)]
    assert [run.name for run in await client.list_runs(tag="listed", page=2, size=2)] == ["listed-2", "listed-1"]
    assert [run.name async for run in client.iter_runs(tag=["listed"], name_prefix="listed-3")] == ["listed-3"]
    assert await client.list_runs(tag="no such tag") == []
    await client.wait_all(made, timeout_s=60)
    assert {run.id for run in await client.list_runs(status=["FINISHED", RunStatus.FAILED])} >= {run.id for run in made}


async def test_a_list_left_by_break_stops_fetching(client: AsyncClient, submit: Submit) -> None:
    await submit()
    before = asyncio.all_tasks()
    runs = client.iter_runs()
    async for _ in runs:
        break
    del runs
    gc.collect()
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() <= before


async def test_waiting_raises_the_failure_as_data(submit: Submit, client: AsyncClient) -> None:
    failure = {
        "kind": "failure",
        "type": "ValueError",
        "message": "no such column",
        "hint": "name it",
        "traceback": "T",
    }
    run = await submit(lines=3, events=[failure], exit=1)
    with pytest.raises(errors.RunFailed, match="no such column") as caught:
        await run.wait(60)
    assert caught.value.failure.type == "ValueError"
    assert caught.value.failure.exit_code == 1
    assert len(caught.value.failure.last_lines) == 3
    with pytest.raises(errors.RunFailed):
        await run.save_artifact("unused")
    with pytest.raises(errors.RunFailed):
        await client.wait_all([run])


async def test_waiting_times_out_and_leaves_the_run(submit: Submit, tmp_path: Path, client: AsyncClient) -> None:
    gate = tmp_path / "gate"
    run = await submit(gate=str(gate))
    with pytest.raises(errors.WaitTimeout, match="nothing was stopped"):
        await run.wait(0.2)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(run.wait(), 0.1)
    with pytest.raises(errors.RunInProgress):
        await run.save_artifact(tmp_path)
    gate.touch()
    assert [one async for one in client.as_completed([run, run], timeout_s=60)] == [run, run]


async def test_cancelled_and_deleted_while_waited_for(submit: Submit, tmp_path: Path) -> None:
    run = await submit(gate=str(tmp_path / "never"))
    queued = await submit(gate=str(tmp_path / "never"))
    await queued.cancel()
    assert queued.info.status is RunStatus.FAILED
    assert "cancelled" in queued.info.details
    waiting = asyncio.create_task(queued.wait(30))
    with pytest.raises(errors.RunFailed, match="cancelled"):
        await waiting
    waiting = asyncio.create_task(run.wait(30))
    await asyncio.sleep(0.3)
    await run.delete()
    with pytest.raises(errors.RunDeleted):
        await waiting
    with pytest.raises(errors.RunNotFound):
        await run.refresh()


async def test_a_watch_gives_a_snapshot_then_changes_and_resumes(
    client: AsyncClient, submit: Submit, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    run = await submit(gate=str(gate))
    async with client.watch([run]) as changes:
        first = await anext(changes)
        assert (first.kind, first.run_id) == ("snapshot", run.id)
        cursor = changes.cursor
        gate.touch()
        async with asyncio.timeout(30):
            async for change in changes:
                if change.after is RunStatus.FINISHED:
                    break
    await run.delete()
    seen: list[tuple[str, str | None]] = []
    async with client.watch(since=cursor) as again, asyncio.timeout(30):
        async for change in again:
            if change.run_id == run.id:
                seen.append((change.kind, change.after))
                if change.kind == "deleted":
                    break
    assert ("status", "FINISHED") in seen


async def test_a_wait_survives_cuts(client: AsyncClient, submit: Submit, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run = await submit(gate=str(gate))
    draw = random.Random(3)  # noqa: S311 - places of a test
    async with (
        FaultProxy(client.host, lambda: Fault(cut_after=draw.randrange(1500))) as proxy,
        AsyncClient(proxy.url, await client.get_token()) as other,
    ):
        waiting = asyncio.create_task(AsyncRun(other, run._raw).wait(60))
        await asyncio.sleep(0.5)
        gate.touch()
        ended = await waiting
    assert ended.info.status is RunStatus.FINISHED
    assert proxy.cuts > 0


@pytest.mark.counted
async def test_lost_answers_make_one_run(client: AsyncClient, home: Home, scaled: Callable[[int], int]) -> None:
    count = scaled(200)
    draw = random.Random(count)  # noqa: S311 - faults of a test
    kinds = [Fault(lose_answer_to=b"POST"), Fault(is_bad_gateway=True), Fault(lose_answer=True), Fault(cut_after=900)]
    lost = 0
    async with FaultProxy(client.host) as proxy:
        for number in range(count):
            name = f"once-{number}"
            # The answer to the create is lost at least once; whatever comes before and after it fails at random.
            faults = iter([Fault(lose_answer_to=b"POST"), *draw.choices(kinds, k=4)])
            proxy.faults = lambda faults=faults: next(faults, Fault())  # type: ignore[misc] # mypy cannot type defaults
            async with AsyncClient(proxy.url, await client.get_token()) as other:
                run = await submit_to(other, run_name=name)
            assert [one.id for one in await client.list_runs(name_prefix=name)][:1] == [run.id]
        lost = proxy.cuts
    assert len(await client.list_runs(name_prefix="once-")) == count
    print(f"{count} runs, one each, through {lost} lost answers")


async def test_an_interrupted_create_can_be_repeated_by_its_key(client: AsyncClient, home: Home) -> None:
    token = await client.get_token()
    async with FaultProxy(client.host) as proxy:
        async with AsyncClient(proxy.url, token, timeout_s=1) as other:
            await submit_to(other, run_name="warms-up")
        proxy.faults = lambda: Fault(lose_answer=True)
        async with AsyncClient(proxy.url, token, timeout_s=0.5) as other:
            with pytest.raises(errors.ServerUnavailable) as caught:
                await other.fit("all-minilm-l6-v2", "data-000000000000", idempotency_key="unused")
        assert caught.value.idempotency_key is None
    first = await submit_to(client, run_name="keyed", key="k-1")
    assert await submit_to(client, run_name="keyed", key="k-1") == first
    with pytest.raises(errors.Conflict):
        await submit_to(client, run_name="keyed-2", key="k-1")


BAD: list[tuple[dict[str, object], str]] = [
    ({"model": "all-minilm-l6"}, "all-minilm-l6-v2"),
    ({"model": "resnet-base"}, "cannot be trained"),
    ({"loss": "TripletMarginLos"}, "TripletMarginLoss"),
    ({"optimizer": "Adm"}, "Adam"),
    ({"epochs": 0}, "epochs"),
    ({"epochs": 2.5}, "whole number"),
    ({"batch_size": -1}, "batch_size"),
    ({"learning_rate": 0}, "learning_rate"),
    ({"val_split": 1.5}, "val_split"),
    ({"run_name": ""}, "empty"),
    ({"run_name": "has space"}, "cannot be a run name"),
    ({"experiment_name": ""}, "empty"),
    ({"train_data": "no-such-file.csv"}, "no such file"),
    ({"train_data": []}, "no row"),
    ({"train_data": ["one text", "another"]}, "single column of texts"),
    ({"callbacks": [EvaluationCallback([("a", "b", "c")])]}, "must have two columns"),
    ({"idempotency_key": "a\nb"}, "printable ASCII"),
    ({"idempotency_key": ""}, "printable ASCII"),
    ({"idempotency_key": " "}, "printable ASCII"),
    ({"idempotency_key": 5}, "idempotency_key must be a text"),
    ({"tags": ["ok", ""]}, r"tags\[1\]"),
    ({"description": "x" * 10_001}, "description"),
    ({"secrets": {"A B": "x"}}, "environment variable"),
    ({"secrets": {"A": "\0"}}, "NUL"),
    ({"seed": 2**32}, "seed must be less than"),
    ({"device": "tpu"}, "device"),
    ({"sampler": "best"}, "sampler"),
    ({"miner_options": {"a": 1}}, "without a miner"),
    ({"tags": [1]}, "tags"),
    ({"model_options": {"a": object()}}, "JSON"),
]


@pytest.mark.parametrize(("bad", "message"), BAD, ids=lambda value: str(value)[:40] if isinstance(value, dict) else "")
async def test_bad_input_is_refused_before_anything_is_created(
    client: AsyncClient, bad: dict[str, object], message: str
) -> None:
    before = (await client.list_runs(), await client.list_datasets())
    of_its_own = [(f"{bad} {message}", "b")]
    given: dict[str, Any] = {"model": "all-minilm-l6-v2", "train_data": of_its_own, "progress": False, **bad}
    with pytest.raises(errors.InvalidInput, match=message):
        await client.fit(**given)
    assert (await client.list_runs(), await client.list_datasets()) == before


async def test_a_taken_name_is_a_conflict_and_a_wrong_one_has_near_names(client: AsyncClient, submit: Submit) -> None:
    await submit(run_name="taken")
    before = await client.list_datasets()
    with pytest.raises(errors.Conflict, match="taken"):
        await submit(run_name="taken", lines=77)
    assert await client.list_datasets() == before
    with pytest.raises(errors.RunNotFound, match="taken"):
        await client.get_run("takn")
    with pytest.raises(errors.ExperimentNotFound):
        await client.get_experiment("nowhere")
    with pytest.raises(errors.RunNotFound):
        await client.get_run_by_id("0" * 24)


async def test_evaluation_data_is_uploaded_once_and_named_in_the_config(client: AsyncClient) -> None:
    articles, questions = [("Reset it", "1"), ("Refund", "2")], [("cannot log in", "1")]
    run = await client.fit(
        "all-minilm-l6-v2",
        [("a", "b"), ("c", "d")],
        loss="MultipleNegativesRankingLoss",
        callbacks=[EvaluationCallback(query_data=questions, index_data=articles)],
        progress=False,
    )
    options = run.config["callbacks"][0]["options"]
    stored = {data.name: data for data in await client.list_datasets()}
    assert stored[options["query_data"]].kind == "labelled"
    assert stored[options["index_data"]].rows == 2
    again = await client.fit("all-minilm-l6-v2", run.train_data, loss="MultipleNegativesRankingLoss", progress=False)
    assert again.train_data == run.train_data


async def test_experiments_hold_runs_of_their_own(client: AsyncClient) -> None:
    experiment = await client.create_experiment("lab")
    assert await client.create_experiment("lab") == experiment
    run = await experiment.create_training_run(
        "all-minilm-l6-v2", [(json.dumps({}), "x")], "one", loss="MultipleNegativesRankingLoss", progress=False
    )
    assert run.experiment_name == "lab"
    assert await experiment.list_runs() == [run] == await client.list_runs("lab")
    assert await experiment.get_run("one") == run
    await experiment.delete_run("one")
    assert await experiment.list_runs() == []
    await experiment.delete_runs()
    assert (await client.delete_experiment("lab")).name == "lab"
    assert "lab" not in [one.name for one in await client.list_experiments()]


async def test_deleting_all_runs_spares_no_older_one(client: AsyncClient) -> None:
    for number in range(3):
        await client.fit(
            "all-minilm-l6-v2", [("a", str(number))], experiment_name="gone", loss="MultipleNegativesRankingLoss"
        )
    await client.delete_runs("gone")
    assert await client.list_runs("gone") == []
    with pytest.raises(errors.InvalidName):
        await client.delete_runs("")


async def test_an_artifact_is_resumed_checked_and_never_overwritten_unasked(
    client: AsyncClient, submit: Submit, tmp_path: Path
) -> None:
    run = await submit(run_name="saved", artifact_bytes=3_000_000)
    await run.wait(60)
    async with FaultProxy(client.host) as proxy, AsyncClient(proxy.url, await client.get_token()) as other:
        proxy.faults = lambda: Fault(cut_after=900_000)
        path = Path(await AsyncRun(other, run._raw).save_artifact(tmp_path / "cut"))
        assert proxy.cuts >= 3
        # Begun anew at each cut it would never end; what was under way at a cut is fetched again.
        assert proxy.answered_bytes < 4 * path.stat().st_size
    before = path.stat()
    assert await run.save_artifact(tmp_path / "cut") == str(path)
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    content = path.read_bytes()
    path.write_bytes(b"mine")
    with pytest.raises(errors.ArtifactExists):
        await run.save_artifact(tmp_path / "cut")
    assert path.read_bytes() == b"mine"
    sha256 = hashlib.sha256(content).hexdigest()
    part = path.with_name(f".saved.zip.{sha256[:16]}.part")
    part.write_bytes(content[:1_000_000])
    await run.save_artifact(tmp_path / "cut", overwrite=True)
    assert path.read_bytes() == content
    part.write_bytes(b"x" * 1_000_000)
    path.unlink()
    with pytest.raises(errors.ArtifactCorrupt):
        await run.save_artifact(tmp_path / "cut")
    assert list(path.parent.iterdir()) == []


async def test_an_upload_is_resumed_where_it_was_cut(
    client: AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "CHUNK_BYTES", 50_000)
    draw = random.Random(5)  # noqa: S311 - places of a test
    kinds = [Fault(lose_answer=True), Fault(is_bad_gateway=True), Fault(cut_after=300), Fault()]
    content = random.Random(6).randbytes(1_000_000)  # noqa: S311 - bytes of a test
    file = tmp_path / "data"
    file.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    async with FaultProxy(client.host, lambda: draw.choice(kinds)) as proxy:
        async with AsyncClient(proxy.url, await client.get_token()) as other:
            for _ in range(2):
                await transfer.upload(
                    other._transport, file, sha256=sha256, size_bytes=len(content), show=False, label="data"
                )
        assert proxy.cuts > 0


async def test_too_large_a_log_says_what_to_do(submit: Submit) -> None:
    run = await submit(lines=500)
    await run.wait(30)
    with pytest.raises(errors.LogTooLarge, match="tail"):
        await run.logs(max_bytes=100)


async def test_a_link_to_the_console_opens_the_page_of_a_run_once(client: AsyncClient, submit: Submit) -> None:
    run = await submit(run_name="looked-at")
    links = [await client.console_url(run), await client.console_url()]
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        for link, onward in zip(links, (f"/console/runs/{run.id}", "/console/"), strict=True):
            assert link.startswith(client.host)
            async with session.get(link) as opened:
                assert f'href="{onward}"' in await opened.text()
            async with session.get(f"{client.host}{onward}") as page:
                assert "looked-at" in await page.text()
        async with session.get(links[0]) as again:
            assert again.status == 403


async def test_over_a_session_of_the_callers(client: AsyncClient) -> None:
    async with aiohttp.ClientSession() as session:
        async with AsyncClient(client.host, await client.get_token(), session=session) as other:
            await other.list_runs()
        assert not session.closed


async def test_closed_it_says_so_and_leaves_no_task_behind(home: Home) -> None:
    before = asyncio.all_tasks()
    client = AsyncClient()
    await asyncio.gather(*(client.list_runs() for _ in range(20)))
    await client.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        await client.list_runs()
    assert asyncio.all_tasks() == before


class Own(CustomCallback):
    pass


async def test_the_callers_key_for_wandb_reaches_a_job_of_its_own_server_that_asks_for_it(
    client: AsyncClient, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "hush-hush")
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    variables = ["WANDB_API_KEY", "WANDB_PROJECT"]
    asking = await submit_to(client, callbacks=[WandBLogger()], variables=variables)
    silent = await submit_to(client, variables=variables)
    server = local.ensure_server()
    async with AsyncClient(host=server.url, token=server.token) as stranger:
        # As far as this client knows, the server is somebody else's: it gets nothing of the caller's environment.
        apart = await submit_to(stranger, callbacks=[WandBLogger()], variables=variables)
        with pytest.raises(errors.InvalidInput, match="only the embedded server runs that"):
            await submit_to(stranger, callbacks=[Own()])
    runs = [await client.get_run_by_id(run.id) for run in (asking, silent, apart)]
    await client.wait_all(runs, timeout_s=60)
    told = [[line.rpartition(" is ")[2] for line in await run.logs()] for run in runs]
    assert told == [["set", "set"], ["not set", "set"], ["not set", "not set"]]
    assert not [path for path in home.root.rglob("*") if path.is_file() and b"hush-hush" in path.read_bytes()]


async def test_a_place_that_cannot_be_written_is_told(
    client: AsyncClient, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await submit(artifact_bytes=10)
    await run.wait(60)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(errors.InvalidInput, match=r"file/.*zip cannot be written .*another directory") as caught:
        await run.save_artifact(tmp_path / "file")
    assert isinstance(caught.value.__cause__, OSError)
    monkeypatch.setenv("FINETUNER_CACHE_DIR", "/dev/null")
    with pytest.raises(errors.InvalidInput, match=r"/dev/null/.* cannot be written .*FINETUNER_CACHE_DIR"):
        await client.get_model(run)


IN_LOOPS = """
from finetuner.aio.client import AsyncClient

made = AsyncClient()

async def use():
    lists = await asyncio.gather(*[made.list_runs() for _ in range(4)])
    async with made.watch() as changes:
        async for _ in changes:
            break
    return len(lists)

say([asyncio.run(use()) for _ in range(3)])
asyncio.run(made.aclose())
"""


async def test_a_client_goes_on_in_the_loop_of_a_later_run(submit: Submit) -> None:
    await submit()
    assert await asyncio.to_thread(run_script, IN_LOOPS) == (0, "[4, 4, 4]\n", "")


async def test_a_client_of_a_loop_that_still_runs_is_refused_in_another(client: AsyncClient) -> None:
    await client.list_runs()
    with pytest.raises(errors.InvalidInput, match="one for each loop"):
        await asyncio.to_thread(lambda: asyncio.run(client.list_runs()))
    await client.list_runs()
