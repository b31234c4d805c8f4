from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from finetuner import callback as callbacks
from finetuner.api import catalog
from finetuner.callback import CALLBACKS, CustomCallback, EvaluationCallback, check_callbacks, from_wire
from finetuner.errors import InvalidInput, ModelNotSupported

OLD: dict[str, dict[str, Any]] = {
    "BestModelCheckpoint": {"monitor": "val_loss", "mode": "auto"},
    "TrainingCheckpoint": {"last_k_epochs": 1},
    "WandBLogger": {"metrics_logger_step": "epoch", "wandb_args": None, "log_zero_shot": True},
    "EarlyStopping": {"monitor": "val_loss", "mode": "auto", "patience": 2, "min_delta": 0, "baseline": None},
    "EvaluationCallback": {
        "query_data": inspect.Parameter.empty,
        "index_data": None,
        "model": None,
        "index_model": None,
        "multi_modal": False,
        "batch_size": 32,
        "exclude_self": True,
        "limit": 20,
        "distance": "cosine",
        "steps_per_interval": None,
        "gather_examples": False,
        "num_example_queries": 5,
        "num_workers": 8,
        "caption": None,
        "output_model_names": False,
        "query_sample_size": None,
    },
    "WiSEFTCallback": {"alpha": 0.4},
}


def test_names_parameters_and_defaults_are_the_old_ones() -> None:
    found = {
        name: {one.name: one.default for one in inspect.signature(kind).parameters.values()}
        for name, kind in CALLBACKS.items()
    }
    assert found == OLD
    assert {name: list(options) for name, options in found.items()} == {name: list(one) for name, one in OLD.items()}


def test_the_wire_has_what_was_set() -> None:
    given = EvaluationCallback("queries", "names", limit=5, caption="names")
    wire = given.to_wire()
    assert wire == {
        "name": "EvaluationCallback",
        "options": {"query_data": "queries", "index_data": "names", "limit": 5, "caption": "names"},
    }
    assert from_wire(**wire) == given


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("EvaluationCallback", {"query_data": "q", "limit": 0}, "limit must be a whole number of at least 1, not 0"),
        ("EvaluationCallback", {"query_data": "q", "limit": True}, "limit"),
        ("EvaluationCallback", {"query_data": "q", "distance": "manhattan"}, "distance must be one of 'cosine'"),
        ("EvaluationCallback", {"query_data": ""}, "query_data"),
        ("EvaluationCallback", {"query_data": None}, "query_data"),
        ("EvaluationCallback", {"query_data": []}, "query_data"),
        ("EvaluationCallback", {"query_data": "q", "gather_examples": 1}, "gather_examples must be True or False"),
        ("EarlyStopping", {"mode": "up"}, "mode"),
        ("EarlyStopping", {"patience": 1.5}, "patience"),
        ("EarlyStopping", {"baseline": "x"}, "baseline"),
        ("WiSEFTCallback", {"alpha": 1.1}, "alpha must be a number from 0 to 1"),
        ("WiSEFTCallback", {"alpha": float("nan")}, "alpha"),
        ("WandBLogger", {"metrics_logger_step": "step"}, "metrics_logger_step"),
        ("WandBLogger", {"wandb_args": []}, "wandb_args"),
        ("WandBLogger", {"wandb_args": {"projct": "x"}}, "'projct'. Near: 'project'"),
        ("WandBLogger", {"wandb_args": {"settings": {"api_key": "x"}}}, "cannot have 'settings'"),
        ("BestModelCheckpoint", {"monitor": 3}, "monitor"),
        ("TrainingCheckpoint", {"last_k_epochs": 0}, "last_k_epochs"),
    ],
)
def test_values_are_checked(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=f"{name}: .*{words}"):
        CALLBACKS[name](**options)


def test_options_for_image_models_are_refused() -> None:
    with pytest.raises(ModelNotSupported, match="text-to-image"):
        EvaluationCallback("q", multi_modal=True)


def test_the_job_offers_every_one() -> None:
    check_callbacks([kind("q") if kind is EvaluationCallback else kind() for kind in CALLBACKS.values()])
    assert set(catalog.offered("callback")) == set(CALLBACKS)
    with pytest.raises(InvalidInput, match="Near: 'EarlyStopping'"):
        from_wire("EarlyStoping", {})


def test_a_stranger_among_the_callbacks() -> None:
    with pytest.raises(InvalidInput, match="EvaluationCallback"):
        check_callbacks(["EvaluationCallback"])  # type: ignore[list-item]


def test_every_callback_is_in_the_catalog() -> None:
    assert set(catalog.entries("callback")) == set(CALLBACKS)
    assert not [name for name in CALLBACKS if not hasattr(callbacks, name)]


class Halve(CustomCallback):
    def __init__(self, every: int = 1, *, factor: float = 0.5, **more: str) -> None:
        self.every, self.factor, self.more = every, factor, more


@attrs.frozen
class Frozen(CustomCallback):
    words: list[str]


class Bare(CustomCallback):
    pass


class Positional(CustomCallback):
    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers


@pytest.mark.parametrize(
    ("made", "options"),
    [
        (Halve(2, factor=0.1, word="x"), {"every": 2, "factor": 0.1, "word": "x"}),
        (Halve(), {}),
        (Frozen(["a"]), {"words": ["a"]}),
        (Bare(), {}),
    ],
)
def test_an_own_callback_is_sent_by_its_class_and_its_arguments(made: CustomCallback, options: dict[str, Any]) -> None:
    check_callbacks([made])
    assert made.to_wire() == {"name": f"{__name__}:{type(made).__name__}", "options": options}
    assert made.import_folder() == Path(__file__).parents[__name__.count(".")]


def test_own_callbacks_that_cannot_be_sent(tmp_path: Path) -> None:
    class Local(CustomCallback):
        pass

    with pytest.raises(InvalidInput, match="module of its own"):
        check_callbacks([Local()])
    with pytest.raises(InvalidInput, match="'numbers' has no name"):
        Positional(1, 2)
    with pytest.raises(TypeError, match="no arguments"):
        Bare(1)
    with pytest.raises(TypeError, match="missing"):
        Frozen()  # type: ignore[call-arg]
    script = tmp_path / "script.py"
    script.write_text(
        "from finetuner.callback import CustomCallback\n"
        "class Mine(CustomCallback): pass\n"
        "try: Mine().to_wire()\n"
        "except ValueError as error: print(error)\n"
    )
    said = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, timeout=60).stdout
    assert "'Mine' of '__main__': define it at the top of a module of its own" in said


def test_the_arguments_of_wandb_are_arguments_of_wandb() -> None:
    import wandb

    assert set(callbacks.WANDB_ARGS) < set(inspect.signature(wandb.init).parameters)
