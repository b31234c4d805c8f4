"""The job from its spec to its artifact."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import datasets
import torch
import transformers
from sentence_transformers import SentenceTransformer

from finetuner.api.checks import check_config
from finetuner.callback import EvaluationCallback, from_wire
from finetuner.errors import InvalidInput
from finetuner.job.worker.artifact import write_artifact
from finetuner.job.worker.evaluation import Encoder, Evaluation, make_evaluation
from finetuner.job.worker.failures import describe
from finetuner.job.worker.layers import prepare_layers
from finetuner.job.worker.report import Report
from finetuner.job.worker.spec import Spec
from finetuner.job.worker.training import AfterStep, train
from finetuner.model import find_model, open_folder, unpack


def run(run_dir: Path, report: Report) -> int:
    """Do the job of a run directory; the exit code is 0 where it left an artifact."""
    datasets.disable_progress_bars()
    try:
        _work(run_dir, report)
    except Exception as error:  # noqa: BLE001 - the process ends here, and the reason goes into log and events
        failure = describe(error)
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
    train_data = spec.data_set(config.data.train_data)
    evaluations = _evaluations(spec, report)
    transformers.set_seed(config.hyper_parameters.seed)
    model = _load(spec, run_dir, report)
    report.say(
        f"training data {config.data.train_data}: {len(train_data.rows)} rows of {train_data.kind}; "
        f"loss {config.hyper_parameters.loss}, {config.hyper_parameters.optimizer} at "
        f"{config.hyper_parameters.learning_rate:g}, batch size {config.hyper_parameters.batch_size}"
    )
    _evaluate(model, evaluations, "before", report)
    report.say(str(prepare_layers(model, config.model)))
    trained = train(
        model,
        train_data,
        config.hyper_parameters,
        config.data,
        report=report,
        work_dir=run_dir / "trainer",
        after_step=_between(model, evaluations, report),
    )
    report.say(f"trained {trained.steps} steps in {trained.seconds:.1f} s; last loss {trained.last_loss:.4f}")
    _evaluate(model, evaluations, "after", report)
    report.progress(phase="saving")
    size = write_artifact(model, spec, run_dir).stat().st_size
    for folder in ("model", "trainer", "base"):
        shutil.rmtree(run_dir / folder, ignore_errors=True)
    report.say(f"artifact of {size / 1e6:.1f} MB written; done in {time.monotonic() - started_at:.1f} s")


def _evaluations(spec: Spec, report: Report) -> list[Evaluation]:
    made = []
    config = spec.config
    for wire in config.callbacks:
        callback = from_wire(wire.name, wire.options)
        if not isinstance(callback, EvaluationCallback):
            raise InvalidInput(f"the worker does not carry out the callback {wire.name!r}")
        evaluation = make_evaluation(
            callback,
            spec.data_set(str(callback.query_data)),
            None if callback.index_data is None else spec.data_set(str(callback.index_data)),
            model_name=config.model.name or config.model.artifact or "model",
            seed=config.hyper_parameters.seed,
        )
        if evaluation.unanswerable:
            report.warn(
                f"{evaluation.unanswerable} of {len(evaluation.queries)} queries of {callback.query_data} have "
                "nothing relevant in the index; they count as 0"
            )
        made.append(evaluation)
    return made


def _load(spec: Spec, run_dir: Path, report: Report) -> SentenceTransformer:
    device = spec.device
    if device == "cuda" and not torch.cuda.is_available():
        report.say("there is no CUDA here: training on the CPU")
        device = "cpu"
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


def _evaluate(model: SentenceTransformer, evaluations: Sequence[Evaluation], stage: str, report: Report) -> None:
    if evaluations:
        report.progress(phase="evaluating")
    encoder = Encoder(model)
    for evaluation in evaluations:
        values, examples = evaluation.run(encoder)
        report.metrics(stage, values)
        if examples:
            report.examples(stage, examples)
        report.say(_line(f"{stage} training", evaluation, values))


def _between(model: SentenceTransformer, evaluations: Sequence[Evaluation], report: Report) -> AfterStep | None:
    wanted = [one for one in evaluations if one.callback.steps_per_interval is not None]
    if not wanted:
        return None

    def after_step(step: int) -> None:
        encoder = Encoder(model)
        for evaluation in wanted:
            every = evaluation.callback.steps_per_interval
            if every is not None and step % every == 0:
                report.say(_line(f"at step {step}", evaluation, evaluation.run(encoder)[0]))

    return after_step


def _line(when: str, evaluation: Evaluation, values: dict[str, float]) -> str:
    prefix, limit = evaluation.prefix(), evaluation.callback.limit
    shown = [
        f"recall@1 {values[f'{prefix}recall_at_1']:.3f}",
        f"recall@{limit} {values[f'{prefix}recall_at_k']:.3f}",
        f"MRR {values[f'{prefix}reciprocal_rank']:.3f}",
    ]
    caption = f" ({evaluation.callback.caption})" if evaluation.callback.caption else ""
    return f"{when}{caption}: {', '.join(shown)} over {len(evaluation.queries)} queries"
