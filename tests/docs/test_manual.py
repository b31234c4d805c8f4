"""The manual: its script is run against a fresh service, and each of its promises is looked at."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import attrs
import pytest

from finetuner.aio.client import AsyncClient
from finetuner.api.names import memorable_name
from finetuner.callback import EvaluationCallback
from finetuner.errors import RunNotFound
from finetuner.local import find_server
from finetuner.server.settings import Settings
from finetuner.server.store.database import Database
from finetuner.server.store.users import create, issue_token
from tests.docs.blocks import ROOT, blocks
from tests.server.console.many import insert_runs

pytestmark = [pytest.mark.train, pytest.mark.anyio, pytest.mark.timeout(900)]

HERE = "manual: "
ELSEWHERE = "manual, in another process: "
DEADLINE_S = 800
"""Ends a script that hangs; four small trainings on a busy machine take minutes."""
PAGE = blocks(ROOT / "docs/manual.md")


@attrs.frozen(kw_only=True)
class Told:
    """What the manual's script printed, by block, and the service that it left."""

    parts: dict[str, str]
    env: dict[str, str]
    folder: Path

    def __getitem__(self, name: str) -> list[str]:
        return self.parts[name].splitlines()

    def client(self) -> AsyncClient:
        """Give a client of the service that the script has started."""
        with _environment(self.env):
            server = find_server()
        assert server is not None
        return AsyncClient(host=server.url, token=server.token)

    def run_name(self) -> str:
        """Give the name that the first run was given."""
        return self["names"][0].split()[2]


@contextlib.contextmanager
def _environment(env: dict[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("FINETUNER_STATE_DIR", "FINETUNER_CONFIG_DIR", "FINETUNER_CACHE_DIR"):
            patch.setenv(name, env[name])
        yield


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """Run the manual's script on a service of its own, then its blocks for other processes; stop the service then."""
    folder = tmp_path_factory.mktemp("manual")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FINETUNER_", "WANDB_"))}
    folders = {f"FINETUNER_{name.upper()}_DIR": str(folder / name) for name in ("state", "config", "cache")}
    env = {**kept, **folders, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2", "COLUMNS": "200"}
    here = [block for block in PAGE if block.note.startswith(HERE)]
    code = "\n".join(f"print('=== {block.note.removeprefix(HERE)}', flush=True)\n{block.code}" for block in here)
    try:
        said = _python(code, folder, env)
        parts = dict(part.split("\n", 1) for part in re.split(r"^=== ", said, flags=re.MULTILINE)[1:])
        for block in PAGE:
            if block.note.startswith(ELSEWHERE):
                parts[block.note.removeprefix(ELSEWHERE)] = _python(block.code, folder, env)
        yield Told(parts=parts, env=env, folder=folder)
    finally:
        stop = [sys.executable, "-m", "finetuner.cli", "server", "stop"]
        subprocess.run(stop, env=env, cwd=ROOT, check=False, timeout=60, capture_output=True)


def _python(code: str, folder: Path, env: dict[str, str]) -> str:
    (folder / "manual.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "manual.py"],
        cwd=folder,
        env={**env, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-4000:]}"
    assert "Traceback" not in done.stderr
    return done.stdout


def test_every_block_is_told_apart() -> None:
    notes = [block.note for block in PAGE if block.language == "python"]
    assert all(note.startswith((HERE, ELSEWHERE)) for note in notes)
    assert len(set(notes)) == len(notes) >= 8


async def test_submitting_gives_a_run_with_a_name_and_a_config(told: Told) -> None:
    module, kind, name, experiment = told["names"][0].split()
    assert (f"{module}.{kind}", experiment) == ("finetuner.sync.run.Run", "default")
    assert name in {memorable_name(number) for number in range(20_000)}
    assert told["names"][1:] == ["wrong attempts", "MultipleNegativesRankingLoss Adam all-minilm-l6-v2"]
    import finetuner.run
    import finetuner.sync.run

    assert finetuner.run.Run is finetuner.sync.run.Run
    async with told.client() as client:
        run, made = await client.get_run(name), await client.get_run("made")
        assert (run.info.task, made.info.task) == ("training", "generation")
        hyper = run.config["hyper_parameters"]
        assert (hyper["epochs"], hyper["batch_size"]) == (1, 3)
        assert (hyper["learning_rate"], run.config["data"]["val_split"]) == (1e-5, 0.0)


async def test_another_process_finds_its_runs_and_nobody_elses(told: Told) -> None:
    found = told["find"]
    assert found[0] == "FAILED"
    assert "no run 'wrong' in experiment 'default'" in found[1]
    assert found[2] == "['attempts', 'default', 'default', 'default']"


async def test_a_list_is_whole_however_many_requests_it_takes(tmp_path: Path) -> None:
    """On a server for a team: of two users each has its own runs, one of them more than fit into ten answers."""
    state = tmp_path / "state"
    tokens, names = {}, {}
    database = await Database.open(Settings(state_dir=state).db_path)
    for user, count in (("ada", 1_050), ("bob", 3)):
        async with database.write() as tx:
            tokens[user] = await issue_token(tx, (await create(tx, user, is_admin=False)).id)
        names[user] = [(row["id"], row["name"]) for row in await insert_runs(database, count, user=user)]
    await database.close()
    with _team(state) as url:
        for user, token in tokens.items():
            async with AsyncClient(host=url, token=token) as client:
                listed = await client.list_runs()
                assert [run.id for run in listed] == [id for id, _ in reversed(names[user])]
        async with AsyncClient(host=url, token=tokens["bob"]) as client:
            with pytest.raises(RunNotFound):
                await client.get_run_by_id(names["ada"][0][0])
            for name in {name for _, name in names["ada"][:10]} - {name for _, name in names["bob"]}:
                for experiment in ("default", "night", "support"):
                    with pytest.raises(RunNotFound):
                        await client.get_run(name, experiment)


@contextlib.contextmanager
def _team(state: Path) -> Iterator[str]:
    """Run a server for a team, and give its address once it has written it down."""
    env = {**os.environ, "FINETUNER_STATE_DIR": str(state), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "finetuner.cli", "server", "run", "--port", "0"]
    file, deadline = state / "v1/server.json", time.monotonic() + DEADLINE_S
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            while not file.exists() and server.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            yield str(json.loads(file.read_text())["url"])
        finally:
            server.terminate()


async def test_a_status_prints_its_word(told: Told) -> None:
    assert told["submit"] == ["Run status: CREATED"]
    statuses = [line for line in told["follow"] if line.startswith("Run status: ")]
    assert statuses == ["Run status: FINISHED", "Run status: FAILED"]
    async with told.client() as client:
        run = await client.get_run("wrong", "attempts")
        assert run.info.failure is not None
        assert "no-such-model" in run.info.failure.message
        assert any("no-such-model" in line for line in await run.logs())
        run = await client.fit("all-minilm-l6-v2", [("a", "b"), ("c", "d")], run_name="seen", progress=False)
        seen: list[str] = []
        async with client.watch([run]) as changes:
            async for change in changes:
                if change.after is not None and change.after not in seen:
                    seen.append(change.after)
                if change.after == "STARTED":
                    await run.cancel()
                if change.after is not None and change.after.is_terminal:
                    break
        assert seen[-2:] == ["STARTED", "FAILED"]
        assert (await run.refresh()).info.details


async def test_a_log_is_a_list_and_a_stream(told: Told) -> None:
    lines = told["follow"]
    ended = lines.index("Run status: FINISHED")
    assert lines[ended + 1] == "True list"
    assert any(line.startswith("trained ") for line in lines[:ended])
    assert any("no-such-model" in line for line in lines[ended + 2 :])
    async with told.client() as client:
        assert await (await client.get_run(told.run_name())).logs() == lines[:ended]


async def test_a_logger_records_the_run_in_weights_and_biases(told: Told) -> None:
    """What wandb itself reads of the record that the run left."""
    async with told.client() as client:
        run = await client.get_run(told.run_name())
        assert any("wandb sync " in line for line in await run.logs())
    (record,) = (told.folder / "state/v1/runs" / run.id).rglob("run-*.wandb")
    wandb = Path(sys.executable).with_name("wandb")
    command = [wandb, "leet", "inspect", "--json", record]
    said = await anyio.run_process([str(part) for part in command], env=told.env)
    records: list[dict[str, Any]] = [json.loads(line) for line in said.stdout.splitlines()]
    (recorded,) = [one["run"] for one in records if one["type"] == "run"]
    points = [one["history"]["item"] for one in records if one["type"] == "history"]
    assert recorded["display_name"] == run.name
    after = (await _metrics(told))["after"]["recall_at_1"]
    assert points[-1]["recall_at_1"] == pytest.approx(after)


async def _metrics(told: Told) -> dict[str, dict[str, float]]:
    async with told.client() as client:
        return await (await client.get_run(told.run_name())).metrics()


async def test_a_page_lists_the_runs_and_leads_to_their_logs_and_configuration(told: Told) -> None:
    (given,) = told["page"]
    async with told.client() as client:
        run = await client.get_run("student")
        url = await client.console_url()
        address = url.split("/console/", 1)[0]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/console/\S+", given)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:

        async def page(path: str) -> str:
            async with session.get(path if "://" in path else f"{address}{path}") as answer:
                assert answer.status == 200
                return await answer.text()

        await page(url)
        listed = await page("/console/")
        for name in ("student", "made", "wrong", told.run_name()):
            assert name in listed
        link = re.search(rf'href="(/console/runs/{run.id})"', listed)
        assert link is not None
        assert "trained " in await page(f"{link[1]}/logs")
        assert "MarginMSELoss" in await page(f"{link[1]}/config")


async def test_an_artifact_is_saved_and_loaded_by_its_id(told: Told) -> None:
    path, shape = told["artifact"]
    assert path == f"tuned/{told.run_name()}.zip"
    assert shape == "(1, 384)"
    with zipfile.ZipFile(told.folder / path) as archive:
        assert any(name.endswith("model.safetensors") for name in archive.namelist())


async def test_what_a_synthesis_made_goes_straight_into_fit(told: Told) -> None:
    path, status = told["synthesize"]
    assert (path, status) == ("made/made.zip", "Run status: FINISHED")
    with zipfile.ZipFile(told.folder / path) as archive:
        rows = archive.read("train.csv").decode().splitlines()
    assert rows[0] == "query,positive,negative,margin"
    assert len(rows) > 6
    async with told.client() as client:
        made, student = await client.get_run("made"), await client.get_run("student")
        assert student.train_data == made.artifact_id


async def test_metrics_and_examples_are_given_and_printed(told: Told) -> None:
    stages, query, *tables = told["measured"]
    assert re.fullmatch(r"\['after', 'before'\] [01](\.\d+)?", stages)
    assert query == "login keeps failing"
    printed = "\n".join(tables)
    assert "reciprocal_rank" in printed
    assert "Reset your password" in printed
    metrics = await _metrics(told)
    assert set(metrics) == {"before", "after"}
    wanted = {"precision_at_k", "recall_at_k", "f1_score_at_k", "hit_at_k", "average_precision", "reciprocal_rank"}
    wanted |= {"r_precision", "dcg_at_k", "ndcg_at_k", "recall_at_1"}
    assert wanted <= set(metrics["after"])
    assert EvaluationCallback("queries").limit == 20
