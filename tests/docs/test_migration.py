"""What the migration page promises of an old script: its calls are still taken, and the differences are as told."""

from __future__ import annotations

import ast
import inspect
from typing import Any

import pytest

import finetuner
from finetuner import callback, errors
from finetuner.api.models import MODELS, resolve
from finetuner.api.types import RunStatus
from finetuner.data import CSVOptions, prepare
from finetuner.model import SynthesisModels
from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs/migration.md").read_text(encoding="utf-8")
FIT = (
    "model, train_data, eval_data=None, val_split=0.0, model_artifact=None, run_name=None, description=None, "
    "experiment_name=None, model_options=None, loss='TripletMarginLoss', miner=None, miner_options=None, "
    "optimizer='Adam', optimizer_options=None, learning_rate=None, epochs=5, batch_size=None, callbacks=None, "
    "scheduler=None, scheduler_options=None, freeze=False, output_dim=None, device='cuda', num_workers=4, "
    "to_onnx=False, csv_options=None, public=False, num_items_per_class=4, sampler='auto', loss_optimizer=None, "
    "loss_optimizer_options=None"
)
SYNTHESIZE = (
    "query_data, corpus_data, models, num_relations=10, run_name=None, description=None, experiment_name=None, "
    "device='cuda', num_workers=4, csv_options=None, public=False"
)
OLD = {
    "build_model": "name, model_options=None, batch_size=32, select_model=None, device=None, is_onnx=False",
    "cos_sim": "a, b",
    "create_experiment": "name='default'",
    "create_run": FIT,
    "create_synthesis_run": SYNTHESIZE,
    "create_training_run": FIT,
    "delete_experiment": "name",
    "delete_experiments": "",
    "delete_run": "run_name, experiment_name=None",
    "delete_runs": "experiment_name=None",
    "describe_models": "task=None",
    "encode": "model, data, batch_size=32",
    "fit": FIT,
    "get_experiment": "name",
    "get_model": (
        "artifact, token=None, batch_size=32, select_model=None, device=None, logging_level='WARNING', is_onnx=False"
    ),
    "get_run": "run_name, experiment_name=None",
    "get_token": "",
    "list_callbacks": "",
    "list_experiments": "page=1, size=50",
    "list_model_options": "",
    "list_models": "",
    "list_runs": "experiment_name=None, page=None, size=None",  # the page says so: these two were 1 and 50
    "login": "force=False, interactive=None",
    "synthesize": SYNTHESIZE,
}
CALLBACKS = {
    "BestModelCheckpoint": "monitor='val_loss', mode='auto'",
    "TrainingCheckpoint": "last_k_epochs=1",
    "WandBLogger": "metrics_logger_step='epoch', wandb_args=None, log_zero_shot=True",
    "EarlyStopping": "monitor='val_loss', mode='auto', patience=2, min_delta=0, baseline=None",
    "EvaluationCallback": (
        "query_data, index_data=None, model=None, index_model=None, multi_modal=False, batch_size=32, "
        "exclude_self=True, limit=20, distance='cosine', steps_per_interval=None, gather_examples=False, "
        "num_example_queries=5, num_workers=8, caption=None, output_model_names=False, query_sample_size=None"
    ),
    "WiSEFTCallback": "alpha=0.4",
}
RUN = "name config train_data status logs stream_logs metrics display_metrics example_results display_examples".split()
EXPERIMENT = "name status get_run list_runs delete_run delete_runs create_training_run create_synthesis_run".split()


def _parameters(text: str) -> list[tuple[str, Any]]:
    """Give names and defaults of a signature as the old client had it."""
    (function,) = ast.parse(f"def old({text}): ...").body
    assert isinstance(function, ast.FunctionDef)
    names = [argument.arg for argument in function.args.args]
    defaults = [ast.literal_eval(value) for value in function.args.defaults]
    return list(zip(names, [inspect.Parameter.empty] * (len(names) - len(defaults)) + defaults, strict=True))


@pytest.mark.parametrize("name", OLD)
def test_each_old_function_takes_the_old_arguments_in_their_order(name: str) -> None:
    old = _parameters(OLD[name])
    now = [(one.name, one.default) for one in inspect.signature(getattr(finetuner, name)).parameters.values()]
    assert now[: len(old)] == old


@pytest.mark.parametrize("name", CALLBACKS)
def test_each_old_callback_takes_the_old_arguments(name: str) -> None:
    now = [(one.name, one.default) for one in inspect.signature(getattr(callback, name)).parameters.values()]
    assert now == _parameters(CALLBACKS[name])


def test_runs_and_experiments_have_the_old_members() -> None:
    assert not [name for name in (*RUN, "save_artifact", "artifact_id") if not hasattr(finetuner.Run, name)]
    assert not [name for name in EXPERIMENT if not hasattr(finetuner.Experiment, name)]


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
    assert set(finetuner.list_callbacks()) == set(CALLBACKS)
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
