"""Requests are read strictly, responses leniently."""

from __future__ import annotations

import datetime as dt
from typing import Any

import orjson
import pytest

from finetuner.api import convert
from finetuner.api.config import RunRequest, TrainingConfig
from finetuner.api.types import RunInfo, RunStatus, Task
from finetuner.errors import InvalidInput

GOOD: dict[str, Any] = {"model": {"name": "m"}, "data": {"train_data": "d"}}


def refused(body: dict[str, Any], kind: type = TrainingConfig) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        convert.read(body, kind)
    return {error.path: error.message for error in caught.value.errors}


def test_every_refused_field_is_named_with_its_path() -> None:
    errors = refused(
        {
            "model": {"name": "m", "freeze": "false"},
            "data": {"train_data": "d", "sampler": "other"},
            "callbacks": [{"name": 1}, {"nam": "x"}],
            "hyper_parameters": {"epochs": 2.7, "learning_rate": float("nan"), "lr": 1},
        }
    )
    assert errors == {
        "$.model.freeze": "must be true or false, not 'false' (str)",
        "$.data.sampler": "must be one of 'auto', 'class', 'random', not 'other' (str)",
        "$.callbacks[0].name": "must be a string, not 1 (int)",
        "$.callbacks[1].name": "this field is missing",
        "$.callbacks[1].nam": "there is no such field",
        "$.hyper_parameters.epochs": "must be a whole number, not 2.7 (float)",
        "$.hyper_parameters.learning_rate": "must be a finite number, not nan (float)",
        "$.hyper_parameters.lr": "there is no such field",
    }


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("hyper_parameters", "epochs", 0),
        ("hyper_parameters", "learning_rate", 0.0),
        ("hyper_parameters", "batch_size", -1),
        ("data", "val_split", 1.0),
        ("model", "output_dim", 0),
    ],
)
def test_a_value_out_of_range_names_its_field(section: str, field: str, value: float) -> None:
    errors = refused({**GOOD, section: {**GOOD.get(section, {}), field: value}})
    assert list(errors) == [f"$.{section}.{field}"]
    assert str(value) in errors[f"$.{section}.{field}"]


def test_true_is_no_number_and_a_list_no_object() -> None:
    assert "$.model.output_dim" in refused({**GOOD, "model": {"output_dim": True}})
    assert refused({**GOOD, "model": []}) == {"$.model": "must be an object"}
    assert refused({"config": {}, "task": "train", "secrets": {"KEY": 1}}, RunRequest) == {
        "$.task": "must be one of 'training', 'generation', not 'train' (str)",
        "$.secrets.KEY": "must be a string, not 1 (int)",
    }


def test_a_body_that_is_not_json_is_refused() -> None:
    with pytest.raises(InvalidInput, match="not JSON"):
        convert.read_json(b"{", RunRequest)
    with pytest.raises(InvalidInput, match="must be a JSON object"):
        convert.read_json(b"[1]", RunRequest)


def test_defaults_are_filled_in_and_left_out_again() -> None:
    config = convert.read(GOOD, TrainingConfig)
    assert config.hyper_parameters.epochs == 5
    assert convert.write(config)["data"]["num_items_per_class"] == 4
    assert convert.write_sparse(config) == GOOD


def test_a_whole_number_is_a_number() -> None:
    config = convert.read({**GOOD, "hyper_parameters": {"learning_rate": 1}}, TrainingConfig)
    assert config.hyper_parameters.learning_rate == 1.0


def test_a_response_may_have_fields_of_a_newer_server() -> None:
    info = RunInfo(
        id="a" * 24,
        seq=3,
        name="n",
        experiment_name="default",
        status=RunStatus.STARTED,
        artifact_id="b" * 24,
        created_at=dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC),
        metrics={"before": {"recall_at_1": 0.25}},
    )
    wire = orjson.loads(convert.dumps(info))
    assert wire["created_at"] == "2026-01-31T12:00:00.000000Z"
    wire["hovercraft"] = "eels"
    again = convert.lenient(wire, RunInfo)
    assert again == info
    assert again.status is RunStatus.STARTED
    assert again.task is Task.TRAINING


def test_a_time_without_a_zone_is_refused() -> None:
    wire = {"name": "n", "created_at": "2026-01-31T12:00:00"}
    from finetuner.api.types import ExperimentInfo

    with pytest.raises(InvalidInput, match="time zone"):
        convert.read(wire, ExperimentInfo)


def test_secrets_are_not_in_the_repr() -> None:
    assert "hush" not in repr(convert.read({"config": {}, "secrets": {"KEY": "hush"}}, RunRequest))
