"""What can be chosen by name for a run (losses, miners, optimizers, schedulers, callbacks), with its options.

Read from `catalog.json`, which `tools/catalog.py` makes from the pinned libraries: names are checked before anything
is created, on a machine without torch too.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final, Literal, get_args

import attrs

from finetuner.api.names import near_hint
from finetuner.errors import InvalidInput

Kind = Literal["loss", "miner", "optimizer", "scheduler", "callback"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

RANKING_LOSS: Final = "MultipleNegativesRankingLoss"
PAIR_LOSS: Final = "VICRegLoss"
"""The loss that takes pairs and nothing else."""

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "float": (float, int),
    "int": (int,),
    "bool": (bool,),
    "str": (str,),
    "list": (list, tuple),
    "object": (dict,),
}


@attrs.frozen(kw_only=True)
class Option:
    """One option of an entry."""

    name: str
    type: str
    """`float`, `int`, `bool`, `str`, `list`, `object`, or `any`."""
    default: Any = None
    is_required: bool = False
    choices: tuple[str, ...] = attrs.field(default=(), converter=tuple)
    """The values that it may have; empty: any of its type."""


@attrs.frozen(kw_only=True)
class Entry:
    """A loss, miner, optimizer, scheduler or callback."""

    kind: Kind
    name: str
    source: str
    """Where the job takes it from: `module:Class`."""
    options: tuple[Option, ...] = ()
    reason: str = ""
    """Why no run can have it; empty: runs can."""
    data: tuple[str, ...] = attrs.field(default=(), converter=tuple)
    """The kinds of data set that a loss trains on."""
    takes_miner: bool = False
    """Whether a loss uses what a miner finds."""
    given: tuple[str, ...] = attrs.field(default=(), converter=tuple)
    """What the job tells a loss from data and model: it has weights of its own."""

    @property
    def is_offered(self) -> bool:
        """Whether the job can use it; otherwise it is refused by name."""
        return not self.reason

    def defaults(self) -> dict[str, Any]:
        """Give the options that have a default, each with it."""
        return {option.name: option.default for option in self.options if not option.is_required}


@functools.cache
def entries(kind: Kind) -> Mapping[str, Entry]:
    """Give all entries of a kind by their names."""
    text = resources.files("finetuner.api").joinpath("catalog.json").read_text(encoding="utf-8")
    return {
        name: Entry(
            kind=kind, name=name, **{**raw, "options": tuple(Option(**option) for option in raw.get("options", ()))}
        )
        for name, raw in json.loads(text)["entries"].get(kind, {}).items()
    }


def offered(kind: Kind) -> list[str]:
    """Give the names that a run may have."""
    return [entry.name for entry in entries(kind).values() if entry.is_offered]


def find(kind: Kind, name: str) -> Entry:
    """Give an entry that the job can use.

    Raises:
        InvalidInput: There is none of that name, or it is not offered; the message has near names.
    """
    entry = entries(kind).get(name)
    if entry is None:
        known = offered(kind)
        raise InvalidInput(f"there is no {kind} {name!r}.{near_hint(name, known)} There are: {_listed(known)}")
    if not entry.is_offered:
        raise InvalidInput(f"the {kind} {name!r} is not offered: {entry.reason}. There are: {_listed(offered(kind))}")
    return entry


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"


def check(kind: Kind, name: str, options: Mapping[str, Any] | None = None) -> Entry:
    """Give an entry if the job can use it with these options.

    Args:
        kind: `loss`, `miner`, `optimizer`, `scheduler` or `callback`.
        name: Its name, as its library has it.
        options: The options to make it with.

    Raises:
        InvalidInput: The name or an option is unknown, or a value has the wrong type.

    Example:
        >>> check("loss", "TripletMarginLoss", {"margin": 0.3}).name
        'TripletMarginLoss'
    """
    entry = find(kind, name)
    given = dict(options or {})
    known = {option.name: option for option in entry.options}
    for key, value in given.items():
        option = known.get(key)
        if option is None:
            raise InvalidInput(
                f"the {kind} {name!r} has no option {key!r}.{near_hint(key, known)} It has: {_listed(sorted(known))}"
            )
        if not _fits(option, value):
            raise InvalidInput(
                f"option {key!r} of the {kind} {name!r} must be of type {option.type}, not {value!r} "
                f"({type(value).__name__})"
            )
        if option.choices and value is not None and value not in option.choices:
            raise InvalidInput(
                f"option {key!r} of the {kind} {name!r} cannot be {value!r}.{near_hint(value, option.choices)} "
                f"It is one of: {_listed(list(option.choices))}"
            )
    missing = [option.name for option in entry.options if option.is_required and option.name not in given]
    if missing:
        raise InvalidInput(f"the {kind} {name!r} needs the option {missing[0]!r}")
    return entry


def _fits(option: Option, value: object) -> bool:
    if option.type == "any":
        return True
    if value is None:
        return option.default is None and not option.is_required
    if isinstance(value, bool):
        return option.type == "bool"
    return isinstance(value, _TYPES[option.type])
