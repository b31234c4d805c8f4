"""`spec.json`: what the server asks the worker to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

import attrs
import orjson

from finetuner.api.config import TrainingConfig
from finetuner.api.convert import read
from finetuner.api.synthesis import SynthesisConfig
from finetuner.api.types import Task
from finetuner.data import DataSet
from finetuner.data import read as read_data
from finetuner.errors import DataNotFound, InvalidInput

SCHEMA: Final = 1


@attrs.frozen(kw_only=True)
class RunSpec:
    """What the spec of any run has."""

    run_id: str
    run_name: str
    experiment_name: str
    raw_config: dict[str, Any]
    """The config as it came, for the artifact's manifest."""
    data: dict[str, Path]
    """Files of the data sets by their names; of a synthesis run also artifacts by their ids."""
    device: Literal["cpu", "cuda"] = "cuda"
    path: tuple[str, ...] = ()
    """Folders that callbacks of the caller's own are imported from."""

    def data_set(self, name: str) -> DataSet:
        """Read a data set by its name.

        Raises:
            DataNotFound: The server gave no file for it.
        """
        path = self.data.get(name)
        if path is None or not path.is_file():
            raise DataNotFound(f"the server gave no file for the data set {name!r}")
        return read_data(path)


@attrs.frozen(kw_only=True)
class Spec(RunSpec):
    """One training run."""

    config: TrainingConfig
    model_path: Path | None = None
    """The artifact to go on from, instead of a model by name."""

    @classmethod
    def load(cls, run_dir: Path) -> Spec:
        """Read a run directory's `spec.json`.

        Raises:
            InvalidInput: It is of another schema, or its config is refused.
        """
        raw = _raw(run_dir, Task.TRAINING)
        return cls(
            **_shared(raw),
            config=read(raw["config"], TrainingConfig, "$.config"),
            model_path=Path(raw["model_path"]) if raw.get("model_path") else None,
        )


@attrs.frozen(kw_only=True)
class SynthesisSpec(RunSpec):
    """One synthesis run."""

    config: SynthesisConfig

    @classmethod
    def load(cls, run_dir: Path) -> SynthesisSpec:
        """Read a run directory's `spec.json`.

        Raises:
            InvalidInput: It is of another schema, or its config is refused.
        """
        raw = _raw(run_dir, Task.GENERATION)
        return cls(**_shared(raw), config=read(raw["config"], SynthesisConfig, "$.config"))


def task_of(run_dir: Path) -> str:
    """Give the task that a run directory's `spec.json` names."""
    return str(orjson.loads((run_dir / "spec.json").read_bytes()).get("task", Task.TRAINING.value))


def _raw(run_dir: Path, task: Task) -> dict[str, Any]:
    raw: dict[str, Any] = orjson.loads((run_dir / "spec.json").read_bytes())
    if raw.get("schema") != SCHEMA or raw.get("task", Task.TRAINING) != task:
        raise InvalidInput(
            f"this worker reads spec.json of schema {SCHEMA} for {task}, not {raw.get('schema')!r} for "
            f"{raw.get('task')!r}; install the server's version of finetuner for its jobs"
        )
    return raw


def _shared(raw: dict[str, Any]) -> dict[str, Any]:
    return {
        "run_id": raw["run_id"],
        "run_name": raw["run_name"],
        "experiment_name": raw["experiment_name"],
        "raw_config": raw["config"],
        "data": {name: Path(path) for name, path in raw["data"].items()},
        "device": raw.get("device") or "cuda",
        "path": tuple(raw.get("path") or ()),
    }
