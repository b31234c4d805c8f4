"""When the evaluations of a run are made: before training, in between, and after it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from finetuner.job.worker.evaluation import Encoder, Evaluation
from finetuner.job.worker.hooks import Hook, Training

_Result = tuple[dict[str, float], list[dict[str, Any]]]


class Measuring(Hook):
    """Carries out every `EvaluationCallback` of a run.

    Args:
        evaluations: Queries and index of each.
        is_reused: Whether what was measured at the last step holds for the weights that the run gives out.
    """

    def __init__(self, evaluations: Sequence[Evaluation], *, is_reused: bool = True) -> None:
        self._evaluations = evaluations
        self._is_reused = is_reused
        self._step = 0
        self._known: dict[int, _Result] = {}
        """What was measured at that step, by the evaluation's position."""

    def before(self, training: Training) -> None:
        """Measure the model that training starts from."""
        training.before.update(self._tell(training, "before"))

    def after(self, training: Training) -> None:
        """Measure the weights that the run gives out."""
        if not self._is_reused:
            self._known.clear()
        training.after.update(self._tell(training, "after"))

    def on_step_end(self, training: Training) -> None:
        """Measure what has its turn at this step."""
        every = [one.callback.steps_per_interval for one in self._evaluations]
        due = [at for at, interval in enumerate(every) if interval is not None and training.step % interval == 0]
        self._record(training, due, f"at step {training.step}")

    def on_epoch_end(self, training: Training) -> None:
        """Measure what was not measured at this step."""
        self._record(training, range(len(self._evaluations)), f"after epoch {training.epoch:g}")

    def _record(self, training: Training, due: Iterable[int], when: str) -> None:
        for at in self._measure(training, due):
            values = self._known[at][0]
            training.record(values)
            training.log(_line(when, self._evaluations[at], values))

    def _tell(self, training: Training, stage: str) -> dict[str, float]:
        if self._evaluations:
            training.report.progress(phase="evaluating")
        self._measure(training, range(len(self._evaluations)))
        told: dict[str, float] = {}
        for at, evaluation in enumerate(self._evaluations):
            values, examples = self._known[at]
            told |= values
            training.report.metrics(stage, values)
            if examples:
                training.report.examples(stage, examples)
            training.log(_line(f"{stage} training", evaluation, values))
        return told

    def _measure(self, training: Training, due: Iterable[int]) -> list[int]:
        """Measure what is not known of this step's weights, and give what that was."""
        if self._step != training.step:
            self._step = training.step
            self._known.clear()
        new = [at for at in due if at not in self._known]
        encoder = Encoder(training.model)
        self._known |= {at: self._evaluations[at].run(encoder) for at in new}
        return new


def _line(when: str, evaluation: Evaluation, values: dict[str, float]) -> str:
    prefix, limit = evaluation.prefix(), evaluation.callback.limit
    shown = [
        f"recall@1 {values[f'{prefix}recall_at_1']:.3f}",
        f"recall@{limit} {values[f'{prefix}recall_at_k']:.3f}",
        f"MRR {values[f'{prefix}reciprocal_rank']:.3f}",
    ]
    caption = f" ({evaluation.callback.caption})" if evaluation.callback.caption else ""
    return f"{when}{caption}: {', '.join(shown)} over {len(evaluation.queries)} queries"
