"""A training by a worker that waited, beside one by a new worker: the same folder, environment, numbers and weights."""

from __future__ import annotations

import json
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetuner.aio.client import AsyncClient
from finetuner.aio.run import AsyncRun
from finetuner.api.types import RunStatus
from finetuner.callback import CustomCallback, EvaluationCallback
from tests.aio.conftest import Home, home_at
from tests.models_support import labelled_rows, make_tiny_model
from tests.rundir_support import marked, until

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.train,
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc"),
]
CODE = """
import json, os, random, sys
import numpy, torch
from finetuner.callback import CustomCallback

class Tell(CustomCallback):
    def on_train_begin(self, training) -> None:
        told = {
            "version": VERSION,
            "pid": os.getpid(),
            "cwd": os.getcwd(),
            "argv": sys.argv[1:],
            "run_dir": os.environ["FINETUNER_RUN_DIR"],
            "names": sorted(os.environ),
            "threads": [torch.get_num_threads(), torch.get_num_interop_threads()],
            "random": [random.random(), float(numpy.random.rand()), float(torch.rand(1))],
        }
        training.log("told " + json.dumps(told))

class Fail(CustomCallback):
    def on_step_end(self, training) -> None:
        raise ValueError("as it was to")
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    root = tmp_path_factory.mktemp("home")
    with home_at(root, FINETUNER_JOB_ARGV="", FINETUNER_WARM_WORKERS="1", OMP_NUM_THREADS="2") as made:
        yield made


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_tiny_model(tmp_path_factory.mktemp("tiny") / "model"))


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A folder of the user's, on the path, with callbacks in it."""
    write_callbacks(tmp_path, 1)
    sys.path.insert(0, str(tmp_path))
    yield tmp_path
    sys.path.remove(str(tmp_path))
    sys.modules.pop("told_callbacks", None)


def write_callbacks(folder: Path, version: int) -> None:
    (folder / "told_callbacks.py").write_text(CODE.replace("VERSION", str(version)))


def callbacks() -> dict[str, type[CustomCallback]]:
    import told_callbacks  # type: ignore[import-not-found]

    found: dict[str, type[CustomCallback]] = vars(told_callbacks)
    return found


async def train(client: AsyncClient, model: str, own: type[CustomCallback]) -> AsyncRun:
    run = await client.fit(
        model,
        [(text, f"the {label}") for text, label in labelled_rows(32)],
        loss="MultipleNegativesRankingLoss",
        batch_size=8,
        epochs=2,
        val_split=0.25,
        seed=7,
        callbacks=[EvaluationCallback(labelled_rows(20, seed=2), labelled_rows(20, seed=3)), own()],
        device="cpu",
        progress=False,
    )
    async for _ in run.stream_logs():
        pass
    await run.refresh()
    return run


def ready(home: Home, count: int) -> int:
    """Wait until so many workers have come to wait, one after the other, and give the process of the last."""

    def pids() -> list[int]:
        events = [json.loads(line) for line in (home.state / "v1" / "server.log").read_text().splitlines()]
        return [one["pid"] for one in events if one["event"] == "a worker waits ready for the next run"]

    return until(lambda: pids() if len(pids()) == count else None, "a worker that waits")[-1]


async def told(run: AsyncRun) -> dict[str, Any]:
    (line,) = [line for line in await run.logs() if line.startswith("told ")]
    value: dict[str, Any] = json.loads(line.removeprefix("told "))
    return value


async def weights(run: AsyncRun, folder: Path) -> dict[str, bytes]:
    path = await run.save_artifact(folder / run.name, progress=False)
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist() if name.endswith(".safetensors")}


async def test_a_waiting_worker_trains_as_a_new_one_and_fails_as_one(
    home: Home, model: str, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    own = callbacks()
    async with AsyncClient() as client:
        cold = await train(client, model, own["Tell"])
        waiting = ready(home, 1)
        assert not Path(f"/proc/{waiting}/cwd").samefile(project)
        write_callbacks(project, 2)
        warm = await train(client, model, own["Tell"])
        told_cold, told_warm = await told(cold), await told(warm)
        assert (await cold.logs())[0] == "loading the libraries"
        assert (await warm.logs())[0] == "the libraries were loaded already: a worker waited for this run"
        assert told_warm["pid"] == waiting != told_cold["pid"]
        assert (told_cold["version"], told_warm["version"]) == (1, 2), "code of the user's own is imported anew"
        assert told_warm["cwd"] == str(project)
        for run, said in ((cold, told_cold), (warm, told_warm)):
            assert said["argv"] == [said["run_dir"]] == [str(home.run_dir(run))]
        for name in ("cwd", "names", "threads", "random"):
            assert told_warm[name] == told_cold[name], name
        saved = await weights(cold, tmp_path)
        assert saved
        assert await weights(warm, tmp_path) == saved
        assert await warm.metrics() == await cold.metrics()
        assert await warm.history() == await cold.history()
        assert (warm.info.progress and warm.info.progress.loss) == (cold.info.progress and cold.info.progress.loss)

        waiting = ready(home, 2)
        failing = await train(client, model, own["Fail"])
        assert failing.info.status is RunStatus.FAILED
        assert failing.info.failure is not None
        assert (failing.info.failure.type, failing.info.failure.message) == ("ValueError", "as it was to")
        cookie = json.loads((home.run_dir(failing) / "job.json").read_bytes())["cookie"]
        until(lambda: not marked(cookie), "the end of the failed run's processes")
        with pytest.raises(ProcessLookupError):
            os.kill(waiting, 0)
