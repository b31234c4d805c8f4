"""What the options of an optimizer cannot be, where their types are right: torch's own limits, known without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from finetuner.api import catalog
from finetuner.errors import FieldError

_AT_LEAST_0: Final = (
    "alpha dampening eps initial_accumulator_value lr_decay momentum momentum_decay weight_decay".split()
)
_LIMITS: Final[Mapping[str, tuple[Callable[[float], bool], str]]] = {
    **{name: (lambda value: value >= 0, "at least 0") for name in _AT_LEAST_0},
    "rho": (lambda value: 0 <= value <= 1, "from 0 to 1"),
    "beta2_decay": (lambda value: value <= 0, "at most 0"),
    "d": (lambda value: value >= 1, "at least 1"),
}
_PAIRS: Final[Mapping[str, tuple[Callable[[float, float], bool], str]]] = {
    "betas": (lambda one, two: 0 <= one < 1 and 0 <= two < 1, "two numbers from 0 to below 1"),
    "etas": (lambda one, two: 0 < one < 1 < two, "two numbers, one between 0 and 1 and one above 1"),
    "step_sizes": (lambda one, two: 0 < one <= two, "two numbers above 0, the smallest step and the largest"),
}


def optimizer_errors(field: str, name: str, options: Mapping[str, Any]) -> Iterator[FieldError]:
    """Give each option of an optimizer whose value it would refuse.

    Args:
        field: `optimizer` or `loss_optimizer`.
        name: Of the optimizer; one that there is not is another check's.
        options: Its options; those of a wrong type are another check's too.
    """
    path = f"$.config.hyper_parameters.{field}_options"
    entry = catalog.entries("optimizer").get(name)
    if entry is None:
        return
    for key, value in options.items():
        if (wrong := _wrong(key, value)) is not None:
            yield FieldError(path=f"{path}.{key}", message=f"must be {wrong}, not {value!r}")
    given = {**entry.defaults(), **options}
    if given.get("nesterov") is True and not (_is_number(given.get("momentum")) and given["momentum"] > 0):
        yield FieldError(path=f"{path}.nesterov", message="needs a momentum above 0 beside it")
    if name == "SGD" and given.get("nesterov") is True and given.get("dampening"):
        yield FieldError(path=f"{path}.nesterov", message="goes with dampening 0 alone")
    if given.get("fused") is True and given.get("foreach") is True:
        yield FieldError(path=f"{path}.fused", message="and foreach are two ways of one thing; give one of them")
    if given.get("fused") is True and given.get("differentiable") is True:
        yield FieldError(path=f"{path}.fused", message="does not go with differentiable")


def _wrong(key: str, value: Any) -> str | None:
    """Say what a value must be, or None where nothing is wrong with it."""
    if isinstance(value, list | tuple):
        return _wrong_pair(key, value)
    if key not in _LIMITS or not _is_number(value):
        return None
    fits, words = _LIMITS[key]
    return None if fits(value) else words


def _wrong_pair(key: str, value: Sequence[Any]) -> str | None:
    fits, words = _PAIRS.get(key, (lambda *_: True, "two numbers"))
    numbers = [one for one in value if _is_number(one)]
    is_pair = len(value) == 2 and (len(numbers) == 2 or key == "eps")
    return None if is_pair and min(numbers, default=0) >= 0 and (len(numbers) < 2 or fits(*numbers)) else words


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
