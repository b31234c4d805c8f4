"""The callbacks of a run together: what they may monitor, which way is better, and who may have which."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, Literal

from finetuner.api.config import CallbackConfig, TrainingConfig
from finetuner.api.names import near_hint
from finetuner.errors import FieldError

METRIC_NAMES: Final = (
    "precision_at_k",
    "recall_at_k",
    "f1_score_at_k",
    "hit_at_k",
    "average_precision",
    "reciprocal_rank",
    "r_precision",
    "dcg_at_k",
    "ndcg_at_k",
    "recall_at_1",
)
"""What an `EvaluationCallback` measures; `k` is its `limit`."""
TRAIN_LOSS: Final = "train_loss"
VAL_LOSS: Final = "val_loss"
_OWN: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_LOWER_IS_BETTER: Final = ("loss", "error", "distance", "perplexity")

Direction = Literal["min", "max"]


def is_own(name: str) -> bool:
    """Whether a callback is a user's own: `module:Class`."""
    return ":" in name


def own_errors(config: TrainingConfig, *, is_embedded: bool) -> Iterator[FieldError]:
    """Give each callback that a server takes from nobody but its owner: code, and folders to write to.

    Args:
        config: As it was submitted.
        is_embedded: The server is its caller's own, and may import the caller's code.
    """
    for index, callback in enumerate(config.callbacks):
        path = f"$.config.callbacks[{index}].name"
        if is_own(callback.name) and not is_embedded:
            message = (
                f"{callback.name!r} is code of your own, and only the embedded server runs that: a shared one takes "
                "the callbacks of finetuner.callback"
            )
            yield FieldError(path=path, message=message)
        elif is_own(callback.name) and not _OWN.fullmatch(callback.name):
            yield FieldError(path=path, message=f"must be module:Class, not {callback.name[:80]!r}")
        arguments = callback.options.get("wandb_args")
        if not is_embedded and isinstance(arguments, dict) and "dir" in arguments:
            path = f"$.config.callbacks[{index}].options.wandb_args.dir"
            yield FieldError(path=path, message="dir is a folder of the server's machine: leave it out")


def direction(monitor: str, mode: str) -> Direction:
    """Give which way is better: as the callback says, or for `auto` as the name tells."""
    if mode in {"min", "max"}:
        return "min" if mode == "min" else "max"
    last = monitor.rpartition("/")[2].lower()
    return "min" if last not in METRIC_NAMES and any(word in last for word in _LOWER_IS_BETTER) else "max"


def metric_prefix(caption: str | None, model_name: str | None) -> str:
    """Give what stands before the names of an EvaluationCallback's metrics."""
    return "".join(f"{part}/" for part in (caption, model_name) if part)


def model_name(config: TrainingConfig) -> str:
    """Give the name of a run's model in the names of metrics."""
    return config.model.name or config.model.artifact or "model"


def measured(config: TrainingConfig) -> list[str]:
    """Give the names of all that a run measures, but for what a user's own callbacks record."""
    has_validation = config.data.eval_data is not None or config.data.val_split > 0
    names = [TRAIN_LOSS, *([VAL_LOSS] if has_validation else [])]
    for callback in config.callbacks:
        if callback.name == "EvaluationCallback":
            is_named = callback.options.get("output_model_names")
            prefix = metric_prefix(callback.options.get("caption"), model_name(config) if is_named else None)
            names += [f"{prefix}{name}" for name in METRIC_NAMES]
    return names


def monitor_errors(config: TrainingConfig) -> Iterator[FieldError]:
    """Give each callback that monitors what the run never measures.

    Args:
        config: Its callbacks' options left out stand for their defaults.
    """
    known = measured(config)
    records_more = any(is_own(callback.name) for callback in config.callbacks)
    for index, callback in enumerate(config.callbacks):
        monitor = _monitor(callback)
        if monitor is not None and monitor not in known and not records_more:
            yield FieldError(path=f"$.config.callbacks[{index}].options.monitor", message=_unknown(monitor, known))


def _monitor(callback: CallbackConfig) -> str | None:
    if callback.name not in {"EarlyStopping", "BestModelCheckpoint"}:
        return None
    given = callback.options.get("monitor", VAL_LOSS)
    return given if isinstance(given, str) else None


def _unknown(monitor: str, known: list[str]) -> str:
    if monitor == VAL_LOSS:
        return f"{VAL_LOSS} is measured with eval_data or val_split alone: give one of them, or monitor {known[0]!r}"
    rest = "" if len(known) > 2 else "; an EvaluationCallback measures more"
    return f"nothing in this run measures {monitor!r}.{near_hint(monitor, known)} There are: {', '.join(known)}{rest}"


def together_errors(config: TrainingConfig) -> Iterator[FieldError]:
    """Give each callback that does not go with one before it: two that would do the same, or use the same names."""
    seen: set[str] = set()
    captions: set[Any] = set()
    for index, callback in enumerate(config.callbacks):
        path = f"$.config.callbacks[{index}]"
        if callback.name == "EvaluationCallback":
            caption = callback.options.get("caption") or None
            if caption in captions:
                message = "each EvaluationCallback of a run needs a caption of its own: caption='...'"
                yield FieldError(path=path, message=message)
            captions.add(caption)
        elif callback.name in seen and not is_own(callback.name):
            yield FieldError(path=path, message=f"a run takes one {callback.name}, and there are two")
        seen.add(callback.name)
