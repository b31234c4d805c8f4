"""Train with sentence-transformers' own trainer."""

from __future__ import annotations

import math
import multiprocessing
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Final

import attrs
import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from transformers import PrinterCallback, TrainerCallback

from finetuner.api import catalog
from finetuner.api.config import DataConfig, HyperParameters
from finetuner.counts import largest_class, too_small
from finetuner.data import DataSet
from finetuner.errors import FinetunerError, InvalidInput
from finetuner.job.worker.examples import Examples, make_examples
from finetuner.job.worker.hooks import Acting, HookRunner, Training
from finetuner.job.worker.losses import make_loss
from finetuner.job.worker.optimizers import make_optimizers
from finetuner.job.worker.report import Report
from finetuner.job.worker.samplers import ClassBatchSampler, classes_to_draw
from finetuner.job.worker.schedulers import Schedule, make_schedule
from finetuner.job.worker.validation import Validator, shuffled_batches

_LOG_LINES: Final = 20
"""How many lines about steps a run writes, about."""
_BATCHES_A_READER: Final = 8
"""Fewer of them are tokenized before another process has started."""
_LOG_PAUSE_S: Final = 15.0
"""The longest time without one, where steps come."""


class LossNotFiniteError(FinetunerError):
    """The loss became infinite or is no number."""

    hint: ClassVar[str] = "use a smaller learning_rate, or another loss; look for odd texts in the training data"


@attrs.frozen(kw_only=True)
class Trained:
    """What a training did."""

    steps: int
    examples: int
    seconds: float
    last_loss: float

    def as_progress(self, config: HyperParameters) -> dict[str, Any]:
        """Give the steps and the pace for the last progress of the run: later plans stand on them."""
        pace = self.steps * config.batch_size / max(self.seconds, 1e-9)
        return {"epochs": config.epochs, "step": self.steps, "steps": self.steps, "examples_per_s": round(pace, 2)}


class Trainer(SentenceTransformerTrainer):
    """The library's trainer, with our batches and schedule, and a check of each loss."""

    def __init__(
        self, *, classes: list[int] | None, items_per_class: int, config: HyperParameters, **options: Any
    ) -> None:
        self.classes = classes
        self.items_per_class = items_per_class
        self.config = config
        self.last_loss: float = math.nan
        super().__init__(**options)

    def get_batch_sampler(self, *args: Any, **options: Any) -> Any:
        """Give the sampler of batches: by class where the run asks for it."""
        if self.classes is None:
            return super().get_batch_sampler(*args, **options)
        return ClassBatchSampler(*args, classes=self.classes, items_per_class=self.items_per_class, **options)

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> Schedule:
        """Make the run's scheduler, once the number of steps is known."""
        schedule = make_schedule(
            optimizer or self.optimizer,
            self.config.scheduler,
            self.config.scheduler_options,
            steps=num_training_steps,
            epochs=self.config.epochs,
            loss=lambda: self.last_loss,
        )
        self.lr_scheduler: Any = schedule
        return schedule

    def compute_loss(self, *args: Any, **options: Any) -> Any:
        """Give the loss of a batch.

        Raises:
            LossNotFiniteError: It is infinite or no number.
        """
        value = super().compute_loss(*args, **options)
        self.last_loss = float((value[0] if isinstance(value, tuple) else value).detach())
        if not math.isfinite(self.last_loss):
            raise LossNotFiniteError(f"the loss became {self.last_loss} in step {self.state.global_step + 1}")
        return value

    @torch.no_grad()
    def loss_of(self, rows: list[Any]) -> float:
        """Give the loss of some rows as the weights are now; nothing is learned from them."""
        inputs = {
            name: value.to(self.model.device) if isinstance(value, torch.Tensor) else value
            for name, value in self.data_collator(rows).items()
        }
        self.loss.eval()
        value = float(self.loss(*self.collect_features(inputs)))
        self.loss.train()
        return value

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Leave the model card out: it would ask the hub about the data."""


class StepReport(TrainerCallback):
    """Tell the progress after each step."""

    def __init__(self, report: Report, batch_size: int) -> None:
        self.trainer: Trainer | None = None
        self._report = report
        self._batch_size = batch_size
        self._started_at = self._logged_at = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002 - the library's signature
        """Tell that training begins."""
        self._started_at = self._logged_at = time.monotonic()
        self._report.progress(phase="training", epoch=0.0, epochs=state.num_train_epochs, step=0, steps=state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002 - the library's signature
        """Tell the step, the loss, the speed and the time left."""
        step, steps, now = state.global_step, state.max_steps, time.monotonic()
        elapsed_s = max(now - self._started_at, 1e-9)
        loss = self.trainer.last_loss if self.trainer else math.nan
        examples_per_s = step * self._batch_size / elapsed_s
        left_s = elapsed_s / step * (steps - step)
        self._report.progress(
            phase="training",
            epoch=round(float(state.epoch or 0), 4),
            epochs=state.num_train_epochs,
            step=step,
            steps=steps,
            loss=loss,
            examples_per_s=round(examples_per_s, 2),
            left_s=round(left_s, 2),
            is_kept=step in {1, steps},
        )
        every = max(1, math.ceil(steps / _LOG_LINES))
        if step in {1, steps} or step % every == 0 or now - self._logged_at > _LOG_PAUSE_S:
            self._logged_at = now
            self._report.say(
                f"step {step}/{steps} · epoch {float(state.epoch or 0):.2f}/{state.num_train_epochs} · "
                f"loss {loss:.4f} · {examples_per_s:.1f} examples/s · {left_s:.0f} s left"
            )


def train(
    training: Training,
    data: DataSet,
    config: HyperParameters,
    data_config: DataConfig,
    *,
    hooks: Iterable[Acting] = (),
    validation: DataSet | None = None,
) -> Trained:
    """Train a model in place.

    Args:
        training: The model, on the device to train on, and where progress is told.
        data: The training data.
        config: Loss, optimizer, epochs and so on.
        data_config: Sampler, items per class, and processes that read ahead.
        hooks: What acts between the steps, in this order.
        validation: What `val_loss` is measured on at the end of each epoch, before the hooks act.

    Raises:
        InvalidInput: Loss, miner, optimizer and data do not go together.
        LossNotFiniteError: The loss became infinite or no number.
    """
    model = training.model
    ids: dict[str, int] = {}
    examples = make_examples(data, config.loss, config.seed, ids)
    classes = len(examples.classes)
    loss = make_loss(model, config.loss, config.loss_options, config.miner, config.miner_options, classes=classes).to(
        model.device
    )
    drawn = classes_to_draw(data_config.sampler, examples, data.kind, config.loss)
    if drawn is not None and (small := too_small(largest_class(drawn), data_config.num_items_per_class)) is not None:
        training.report.warn(small)
    readers = _readers(data_config.num_workers, len(examples), config.batch_size)
    steps = StepReport(training.report, config.batch_size)
    trainer = Trainer(
        classes=drawn,
        items_per_class=data_config.num_items_per_class,
        config=config,
        model=model,
        args=_arguments(model, config, readers, training.run_dir / "trainer"),
        train_dataset=_dataset(examples),
        loss=loss,
        optimizers=(make_optimizers(loss, config), None),
        callbacks=[steps],
    )
    trainer.remove_callback(PrinterCallback)
    steps.trainer = trainer
    acting = list(hooks)
    if validation is not None:
        held_out = _validation_examples(validation, config, ids, classes, training.report)
        by_class = classes_to_draw(data_config.sampler, held_out, validation.kind, config.loss)
        batches = _batches(held_out, by_class, config, data_config.num_items_per_class)
        acting.insert(0, Validator(trainer.loss_of, _dataset(held_out), batches, config.seed))
    trainer.add_callback(HookRunner(training, acting, lambda: trainer.last_loss))
    started_at = time.monotonic()
    trainer.train()
    return Trained(
        steps=trainer.state.global_step,
        examples=len(examples),
        seconds=time.monotonic() - started_at,
        last_loss=trainer.last_loss,
    )


def _validation_examples(
    data: DataSet, config: HyperParameters, ids: dict[str, int], classes: int, report: Report
) -> Examples:
    """Give what the validation loss is measured on; a loss with a weight for each class knows those alone."""
    try:
        examples = make_examples(data, config.loss, config.seed, ids)
        if "num_classes" not in catalog.find("loss", config.loss).given:
            return examples
        known = examples.within(classes)
    except InvalidInput as error:
        raise InvalidInput(f"the validation data (eval_data, or what val_split held out): {error}") from error
    if len(known) < len(examples):
        left_out = len(examples) - len(known)
        rows = "1 row is" if left_out == 1 else f"{left_out} rows are"
        report.say(f"validation data: {rows} left out, whose class the training data has not")
    return known


def _batches(
    examples: Examples, classes: list[int] | None, config: HyperParameters, items_per_class: int
) -> list[list[int]]:
    """Give the positions of rows that come together, in batches of the same make as those of training."""
    if classes is None:
        return shuffled_batches(len(examples), config.batch_size, config.seed)
    sampler = ClassBatchSampler(
        range(len(examples)),
        classes=classes,
        items_per_class=items_per_class,
        batch_size=config.batch_size,
        drop_last=False,
        seed=config.seed,
    )
    return list(sampler)


def _dataset(examples: Examples) -> Dataset:
    return Dataset.from_dict({**examples.columns, "label": examples.targets})


def _readers(num_workers: int, examples: int, batch_size: int) -> int:
    """Say how many processes tokenize ahead: one core is left for the model, and each reader has some batches."""
    if multiprocessing.get_start_method() != "fork":
        return 0  # the tokenizer would be sent to each reader, and the model with it
    return max(0, min(num_workers, _cores() - 1, examples // (_BATCHES_A_READER * batch_size)))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _arguments(
    model: SentenceTransformer, config: HyperParameters, readers: int, work_dir: Path
) -> SentenceTransformerTrainingArguments:
    return SentenceTransformerTrainingArguments(
        output_dir=str(work_dir),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        seed=config.seed,
        data_seed=config.seed,
        use_cpu=torch.device(model.device).type == "cpu",
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
        dataloader_num_workers=readers,
    )
