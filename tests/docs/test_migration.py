"""What the migration page tells of the differences is so; `tests/reference` holds the signatures to it."""

from __future__ import annotations

import inspect

import pytest

import finetuner
from finetuner import callback, errors
from finetuner.api.models import MODELS, resolve
from finetuner.api.types import RunStatus
from finetuner.data import CSVOptions, prepare
from finetuner.model import SynthesisModels
from tests.docs.blocks import ROOT
from tests.reference.surface import SURFACE

PAGE = (ROOT / "docs/migration.md").read_text(encoding="utf-8")


def test_other_than_text_models_are_refused_by_their_names() -> None:
    for model in MODELS:
        if model.task != "text-to-text":
            with pytest.raises(errors.ModelNotSupported):
                resolve(model.name)
            assert f"`{model.name}`" in PAGE or f"`{model.name.split('-')[0]}-*`" in PAGE


def test_the_differences_are_as_told() -> None:
    assert f"{RunStatus.CREATED}" == "CREATED"
    assert inspect.signature(finetuner.Run.logs).return_annotation == "list[str]"
    assert inspect.signature(finetuner.Run.status).return_annotation == "RunStatus"
    assert inspect.signature(finetuner.Experiment.list_runs).parameters["page"].default is None
    callbacks = {path.rpartition(".")[2] for path in SURFACE.values if path.startswith("finetuner.callback.")}
    assert set(finetuner.list_callbacks()) == callbacks
    assert {option["name"] for options in finetuner.list_model_options().values() for option in options} == {
        "max_seq_length"
    }
    assert resolve("bert-base-en").hub_id == "google-bert/bert-base-cased"
    assert SynthesisModels("all-minilm-l6-v2", None).cross_encoder is None
    assert CSVOptions(convert_to_blob=False, create_point_clouds=False, point_cloud_size=1).encoding == "utf-8"
    with pytest.raises(errors.ModelNotSupported):
        callback.EvaluationCallback("q", model="clip-text")
    with pytest.raises(errors.InvalidData):
        prepare([object()])
    with pytest.raises(errors.InvalidName):
        finetuner.delete_experiment("")
    with pytest.raises(errors.InvalidInput):
        finetuner.build_model("all-minilm-l6-v2", select_model="clip-text")
