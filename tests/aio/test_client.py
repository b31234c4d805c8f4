"""What of the client is asyncio's own: tasks, deadlines, sessions, loops; and its way through faults.

What both faces share is in `tests/behaviours`.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from finetuner import errors, local
from finetuner.aio.client import AsyncClient
from finetuner.aio.run import AsyncRun
from finetuner.api.checks import _MAX_TAGS as MOST_TAGS
from finetuner.api.selecting import RunFilter
from finetuner.api.types import RunStatus
from finetuner.callback import CustomCallback, WandBLogger
from tests.aio.conftest import Home, Submit, submit_to
from tests.portal.scripts import run as run_script
from tests.proxy_support import Fault, FaultProxy

pytestmark = pytest.mark.anyio


async def test_lists_are_filtered_by_the_server_and_put_in_order_here(client: AsyncClient, submit: Submit) -> None:
    def measured(value: float) -> list[dict[str, object]]:
        return [{"kind": "metrics", "stage": "after", "values": {"recall_at_1": value}}]

    values = (0.5, 0.9, 0.7)
    made = [await submit(run_name=f"sifted-{value}", tags=["sifted"], events=measured(value)) for value in values]
    await client.wait_all(made, timeout_s=60)
    low, high, middle = made
    found = await client.list_runs(tag="sifted", metric=["after.recall_at_1>0.5", "after.recall_at_1<=0.9"])
    assert found == [middle, high]
    assert await client.list_runs(tag="sifted", metric="before.recall_at_1>0") == []
    assert await client.list_runs(tag="sifted", sort="-after.recall_at_1") == [high, middle, low]
    assert await client.list_runs(tag="sifted", sort="created", finished_after=made[0].info.created_at) == made
    assert await client.list_runs(tag="sifted", created_before=high.info.created_at) == [low]
    assert [run async for run in client.iter_runs(tag="sifted", finished_before="2020-01-01")] == []
    with pytest.raises(errors.InvalidInput, match=r"by must be 'status', not 'day' \(str\)"):
        await client.count_runs(by="day")  # type: ignore[arg-type]
    failed = RunFilter(tag="sifted", status="FAILED")
    assert await client.count_runs(failed) == dict.fromkeys(map(str, RunStatus), 0)
    assert (await client.count_runs(RunFilter(tag="sifted"), by="status"))["FINISHED"] == 3
    for wrong in ({"sort": "size"}, {"sort": "name", "page": 1}, {"metric": "after"}, {"finished_after": "now"}):
        with pytest.raises(errors.InvalidInput, match=next(iter(wrong))):
            await client.list_runs(**wrong)


async def test_a_list_without_configs_says_how_to_get_one(client: AsyncClient, submit: Submit) -> None:
    made = await submit(run_name="light")
    for listed in (
        await client.list_runs(name_prefix="light", with_config=False),
        await client.list_runs(name_prefix="light", with_config=False, size=1),
        [run async for run in client.iter_runs(name_prefix="light", with_config=False)],
    ):
        (run,) = listed
        assert run.info.name == "light"
        for ask in (lambda run=run: run.config, lambda run=run: run.train_data):
            with pytest.raises(errors.NotLoaded, match=r"'light' was listed without its config: refresh\(\) it"):
                ask()
        assert (await run.refresh()).config == made.config


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


async def test_a_deadline_of_asyncio_ends_a_wait_and_leaves_the_run(submit: Submit, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run = await submit(gate=str(gate))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(run.wait(), 0.1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await run.wait()
    gate.touch()
    assert (await run.wait(60)).info.status is RunStatus.FINISHED


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


async def test_a_wait_of_no_time_looks_once(client: AsyncClient, submit: Submit, tmp_path: Path) -> None:
    ended = await submit(run_name="ended-already")
    await ended.wait(60)
    going = await submit(run_name="goes-on", gate=str(tmp_path / "gate"))
    assert await (await client.get_run("ended-already")).wait(0) == ended
    with pytest.raises(errors.WaitTimeout, match="goes-on had not ended after 0 s"):
        await going.wait(0)
    looking = client.as_completed([going, ended], timeout_s=0)
    assert await anext(looking) == ended
    with pytest.raises(errors.WaitTimeout, match="goes-on had not ended"):
        await anext(looking)
    (tmp_path / "gate").touch()


async def test_many_runs_are_cancelled_and_deleted_by_a_filter(
    client: AsyncClient, submit: Submit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("finetuner.aio.bulk_calls.MAX_BATCH", 2)
    ended = await submit(run_name="bulk-ended", tags=["bulk"])
    await ended.wait(60)
    made = [await submit(run_name=f"bulk-{n}", tags=["bulk"], gate=str(tmp_path / "never")) for n in range(5)]
    bulk = RunFilter(tag="bulk")
    newest_first = made[::-1]
    assert await client.cancel_runs(bulk, dry_run=True) == newest_first
    assert await client.delete_runs(filters=bulk, dry_run=True) == [*newest_first, ended]
    assert await client.count_runs(RunFilter(tag="bulk", status="FAILED")) == dict.fromkeys(map(str, RunStatus), 0)
    assert await client.cancel_runs([made[0], made[0], ended]) == [made[0]]
    with pytest.raises(errors.RunFailed, match="cancelled"):
        await made[0].wait(60)
    assert await client.cancel_runs(RunFilter(name_prefix="bulk-")) == newest_first[:-1]
    with pytest.raises(errors.RunFailed, match="cancelled"):
        await client.wait_all(made, timeout_s=60)
    assert await client.cancel_runs(bulk) == []
    assert await client.delete_runs("elsewhere", filters=made) == await client.delete_runs(filters=[]) == []
    with pytest.raises(errors.InvalidInput, match="'default' and filters, which say 'lab', contradict"):
        await client.delete_runs("default", filters=RunFilter(experiment_name="lab"))
    assert await client.delete_runs("default", filters=RunFilter(tag="bulk", status="FAILED")) == newest_first
    assert await client.list_runs(tag="bulk") == [ended]
    assert await client.delete_runs(filters=(run for run in [*made, ended])) == [ended]
    with pytest.raises(errors.InvalidInput, match="filters must be"):
        await client.cancel_runs("bulk")  # type: ignore[arg-type]


async def test_a_run_cancelled_at_any_moment_of_its_start_says_so_in_its_log(
    client: AsyncClient, submit: Submit, tmp_path: Path
) -> None:
    for number in range(60):
        run = await submit(gate=str(tmp_path / "never"))
        for _ in range(number % 30):
            await asyncio.sleep(0.0005)
        await run.cancel()
        while await run.status() is not RunStatus.FAILED:
            pass
        assert (await run.logs())[-1].startswith("failed: Cancelled: ")


async def test_many_runs_are_tagged_by_a_filter(
    client: AsyncClient, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetuner.aio.bulk_calls.MAX_BATCH", 2)
    made = [await submit(run_name=f"tagged-{n}", tags=["old", f"n{n}"]) for n in range(5)]
    await client.wait_all(made, timeout_s=60)
    mine = RunFilter(name_prefix="tagged-")
    assert await client.tag_runs(mine, add_tags=["new"], dry_run=True) == made[::-1]
    assert not await client.list_runs(tag="new")
    changed = await client.tag_runs(mine, add_tags=["new"], remove_tags=["old", "n3"])
    assert changed == made[::-1]
    assert [run.info.tags for run in changed] == [("n4", "new"), ("new",), ("n2", "new"), ("n1", "new"), ("n0", "new")]
    assert [run.info.tags for run in await client.list_runs(tag="new")] == [run.info.tags for run in changed]
    assert await client.tag_runs(made, add_tags=["new"]) == []
    assert await client.tag_runs(made[:2], remove_tags=["n1"]) == [made[1]]
    with pytest.raises(errors.InvalidInput, match="say what to change: add_tags or remove_tags"):
        await client.tag_runs(mine)
    with pytest.raises(errors.InvalidInput, match=r"add_tags\[1\].*printable"):
        await client.tag_runs(mine, add_tags=["good", "\x07"])
    many = [f"tag-{n}" for n in range(MOST_TAGS)]
    with pytest.raises(errors.InvalidInput, match=r"those of run tagged-\d.*must be at most"):
        await client.tag_runs(made[:1], add_tags=many)
    assert (await made[0].refresh()).info.tags == ("n0", "new")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"experiment_name": "default", "name_prefix": "f-"},
        {"status": "FAILED"},
        {"status": ["FINISHED", "FAILED"], "tag": ["f", "b"]},
        {"task": "generation"},
        {"metric": "after.mrr>0.5"},
        {"metric": ["after.mrr>=0.25", "before.mrr<1"]},
        {"metric": "after.mrr==0.25"},
        {"finished_after": "2000-01-01", "finished_before": "2999-01-01"},
        {"created_before": "2000-01-01"},
    ],
    ids=str,
)
async def test_a_filter_means_the_same_here_and_on_the_server(
    client: AsyncClient, submit: Submit, given: dict[str, Any]
) -> None:
    def measured(after: float) -> list[dict[str, Any]]:
        return [
            {"kind": "metrics", "stage": "before", "values": {"mrr": 0.125}},
            {"kind": "metrics", "stage": "after", "values": {"mrr": after}},
        ]

    if not await client.list_runs(tag="f"):
        await submit(run_name="f-a", tags=["f", "b"], events=measured(0.75))
        await submit(run_name="f-b", tags=["f", "b"], events=measured(0.25), exit=3)
        await submit(run_name="f-c", tags=["f"])
        await client.wait_all([run for run in await client.list_runs(tag="f") if run.name != "f-b"], timeout_s=60)
    runs = await client.list_runs()
    which = RunFilter(**given)
    assert await client.list_runs(**given) == [run for run in runs if which.matches(run.info)]


async def test_an_artifact_is_resumed_checked_and_never_overwritten_unasked(
    client: AsyncClient, submit: Submit, tmp_path: Path
) -> None:
    run = await submit(run_name="saved", artifact_bytes=3_000_000)
    await run.wait(60)
    async with FaultProxy(client.host) as proxy, AsyncClient(proxy.url, await client.get_token()) as other:
        proxy.faults = lambda: Fault(cut_after=900_000)
        path = Path(await AsyncRun(other, run._raw).save_artifact(tmp_path / "cut"))
        assert proxy.cuts >= 3
        # What came before a cut is kept to the last byte.
        assert proxy.answered_bytes < 1.02 * path.stat().st_size
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
