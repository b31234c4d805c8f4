"""The job from its spec to its artifact."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import datasets
import transformers
from sentence_transformers import SentenceTransformer

from finetuner.api.callbacks import is_own, model_name
from finetuner.api.checks import check_config, check_eval_kind
from finetuner.api.config import CallbackConfig
from finetuner.api.types import Task
from finetuner.api.words import count as counted
from finetuner.callback import (
    BestModelCheckpoint,
    Callback,
    CustomCallback,
    EvaluationCallback,
    WandBLogger,
    WiSEFTCallback,
    from_wire,
)
from finetuner.data import DataSet
from finetuner.job.worker.artifact import save_model, write_artifact
from finetuner.job.worker.callbacks import make_hooks
from finetuner.job.worker.device import usable_device
from finetuner.job.worker.evaluation import Evaluation, make_evaluation
from finetuner.job.worker.failures import describe
from finetuner.job.worker.hooks import Training
from finetuner.job.worker.layers import prepare_layers
from finetuner.job.worker.measuring import Measuring
from finetuner.job.worker.onnx_export import check_packages, export_onnx
from finetuner.job.worker.own import make_own
from finetuner.job.worker.report import Report
from finetuner.job.worker.spec import Spec, task_of
from finetuner.job.worker.synthesis import synthesize
from finetuner.job.worker.training import train
from finetuner.job.worker.validation import hold_out
from finetuner.job.worker.wandb_recorder import WandBRecorder
from finetuner.model import find_model, open_folder, unpack

_CHANGE_WEIGHTS: Final = (BestModelCheckpoint, CustomCallback, WiSEFTCallback)
"""Callbacks after which the weights may not be those of the last step."""


def run(run_dir: Path, report: Report) -> int:
    """Do the job of a run directory; the exit code is 0 where it left an artifact."""
    datasets.disable_progress_bars()
    task = Task.TRAINING
    try:
        task = Task(task_of(run_dir))
        if task is Task.GENERATION:
            synthesize(run_dir, report)
        else:
            _work(run_dir, report)
    except Exception as error:  # noqa: BLE001 - the process ends here, and the reason goes into log and events
        failure = describe(error, task)
        for line in (failure.traceback or "").splitlines():
            report.say(line)
        report.say(f"failed: {failure.type}: {failure.message}")
        if failure.hint:
            report.say(f"hint: {failure.hint}")
        report.failure(failure)
        return 1
    return 0


def _work(run_dir: Path, report: Report) -> None:
    started_at = time.monotonic()
    spec = Spec.load(run_dir)
    config = spec.config
    check_config(config)
    if config.model.to_onnx:
        check_packages()
    train_data, validation = _data(spec, report)
    if len(train_data.rows) == 1:
        report.warn("there is one row to train on: a loss that compares rows with each other trains nothing")
    callbacks = [_callback(wire, spec, report) for wire in config.callbacks]
    changes_weights = any(isinstance(one, _CHANGE_WEIGHTS) for one in callbacks)
    measuring = Measuring(_evaluations(spec, callbacks, report), is_reused=not changes_weights)
    recorders = [WandBRecorder(one, spec, run_dir, report) for one in callbacks if isinstance(one, WandBLogger)]
    own = [one for one in callbacks if isinstance(one, CustomCallback)]
    transformers.set_seed(config.hyper_parameters.seed)
    model = _load(spec, run_dir, report)
    report.say(
        f"training data {config.data.train_data}: {counted(len(train_data.rows), 'row')} of "
        f"{train_data.kind}; "
        f"loss {config.hyper_parameters.loss}, {config.hyper_parameters.optimizer} at "
        f"{config.hyper_parameters.learning_rate:g}, batch size {config.hyper_parameters.batch_size}"
    )
    training = Training(model, report, run_dir, config.hyper_parameters.epochs)
    measuring.before(training)
    report.say(str(prepare_layers(model, config.model)))
    with contextlib.ExitStack() as recording:
        for recorder in recorders:
            recording.enter_context(recorder)
        trained = train(
            training,
            train_data,
            config.hyper_parameters,
            config.data,
            hooks=[measuring, *own, *make_hooks(callbacks), *recorders],
            validation=validation,
        )
        report.say(
            f"trained {counted(trained.steps, 'step')} in {trained.seconds:.1f} s; last loss {trained.last_loss:.4f}"
        )
        measuring.after(training)
        report.progress(phase="saving", **trained.as_progress(config.hyper_parameters))
        saved = save_model(model, run_dir)
        if config.model.to_onnx:
            report.say(str(export_onnx(model, saved, train_data.column(0))))
        size = write_artifact(saved, spec, run_dir).stat().st_size
    for folder in ("model", "trainer", "base"):
        shutil.rmtree(run_dir / folder, ignore_errors=True)
    report.say(f"artifact of {size / 1e6:.1f} MB written; done in {time.monotonic() - started_at:.1f} s")


def _data(spec: Spec, report: Report) -> tuple[DataSet, DataSet | None]:
    """Give the training data, and the validation data where there is any."""
    data, seed = spec.config.data, spec.config.hyper_parameters.seed
    train_data = spec.data_set(data.train_data)
    if data.eval_data is not None:
        validation = spec.data_set(data.eval_data)
        check_eval_kind(validation.kind, train_data.kind)
        report.say(f"validation data {data.eval_data}: {counted(len(validation.rows), 'row')}")
        return train_data, validation
    if not data.val_split:
        return train_data, None
    train_data, validation = hold_out(train_data, data.val_split, seed)
    report.say(f"validation data: {counted(len(validation.rows), 'row')} held out of {data.train_data} by seed {seed}")
    return train_data, validation


def _callback(wire: CallbackConfig, spec: Spec, report: Report) -> Callback:
    if not is_own(wire.name):
        return from_wire(wire.name, wire.options)
    made = make_own(wire.name, wire.options, spec.path)
    report.say(f"callback {wire.name} from {made.import_folder()}")
    return made


def _evaluations(spec: Spec, callbacks: Sequence[Callback], report: Report) -> list[Evaluation]:
    made = []
    for callback in callbacks:
        if not isinstance(callback, EvaluationCallback):
            continue
        evaluation = make_evaluation(
            callback,
            spec.data_set(str(callback.query_data)),
            None if callback.index_data is None else spec.data_set(str(callback.index_data)),
            model_name=model_name(spec.config),
            seed=spec.config.hyper_parameters.seed,
        )
        if evaluation.unanswerable:
            report.warn(
                f"{evaluation.unanswerable} of {len(evaluation.queries)} queries of {callback.query_data} have "
                "nothing relevant in the index; they count as 0"
            )
        made.append(evaluation)
    return made


def _load(spec: Spec, run_dir: Path, report: Report) -> SentenceTransformer:
    device = usable_device(spec.device, report, "training")
    if spec.model_path is not None:
        folder = unpack(spec.model_path, run_dir / "base")
    else:
        folder = find_model(spec.config.model.name or "")
    report.say(f"loading the model {spec.config.model.name or spec.config.model.artifact} from {folder}")
    model = open_folder(folder, device)
    length = spec.config.model.options.get("max_seq_length")
    if length is not None:
        model.max_seq_length = int(length)
    return model
