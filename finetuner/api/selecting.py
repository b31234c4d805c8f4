"""Which runs a call is about, and in which order: the filters that both ends know, and the client's sort."""

from __future__ import annotations

import datetime as dt
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar

import attrs

from finetuner.api.convert import to_iso
from finetuner.api.names import check_name, near_hint
from finetuner.api.types import RunInfo, RunStatus, Task
from finetuner.errors import InvalidInput

T = TypeVar("T")
Stage = Literal["before", "after"]
STAGES: Final = ("before", "after")
COMPARED: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
COMPARISONS: Final = tuple(COMPARED)
_THRESHOLD: Final = re.compile(r'\s*(\w+)\.([^<>="\\]+?)\s*(>=|<=|==|>|<|=)\s*(\S+)\s*')
TIMES: Final = ("created_after", "created_before", "finished_after", "finished_before")
"""The filters that are times; those that begin a range belong to it, those that end one do not."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ORDERS: Final = ("created", "started", "finished", "duration", "name", "experiment", "status")


@attrs.frozen(kw_only=True)
class MetricThreshold:
    """A condition on one metric of a run, such as `after.reciprocal_rank>0.8`; a run without that metric fails it."""

    stage: Stage
    name: str
    comparison: str
    """One of `COMPARISONS`."""
    value: float

    @classmethod
    def parse(cls, text: str) -> MetricThreshold:
        """Read a condition as it is written.

        Raises:
            InvalidInput: It is none.
        """
        found = _THRESHOLD.fullmatch(text)
        if found is None:
            raise InvalidInput(
                f"metric {text[:80]!r} must be written as STAGE.NAME, a comparison ({', '.join(COMPARISONS)}) and a "
                "number, such as 'after.reciprocal_rank>0.8'"
            )
        stage, name, comparison, number = found.groups()
        if name.endswith("!"):
            raise InvalidInput(f"metric {text[:80]!r}: != is no comparison; there are {', '.join(COMPARISONS)}")
        if _CONTROL.search(name):
            raise InvalidInput(f"metric {text[:80]!r}: a metric's name with a control character is looked for in vain")
        _check_text(name, "metric")
        if stage not in STAGES:
            raise InvalidInput(f"metric {text[:80]!r}: {stage!r} is no stage; there are {' and '.join(STAGES)}")
        try:
            value = float(number) if number.isascii() and "_" not in number else math.nan
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InvalidInput(f"metric {text[:80]!r}: {number[:40]!r} is no number")
        return cls(stage=stage, name=name, comparison="==" if comparison == "=" else comparison, value=value)  # type: ignore[arg-type] # looked at above

    def holds(self, value: float | None) -> bool:
        """Say whether a value is on the right side; None is on none."""
        return value is not None and COMPARED[self.comparison](value, self.value)

    def __str__(self) -> str:
        return f"{self.stage}.{self.name}{self.comparison}{self.value!r}"


def read_time(value: dt.datetime | str, name: str) -> str:
    """Give a time as the wire and the database have it; one without a zone is a local one.

    Raises:
        InvalidInput: It is no time.
    """
    shown = str(value)[:60]
    try:
        time = dt.datetime.fromisoformat(value) if isinstance(value, str) else value
        time.utcoffset()
    except (AttributeError, TypeError, ValueError) as error:
        raise InvalidInput(f"{name} must be a datetime or an ISO 8601 text, not {shown!r}") from error
    try:
        in_utc = time.astimezone(dt.UTC)
    except (OverflowError, ValueError) as error:
        raise InvalidInput(f"{name}: {shown!r} is too far from now to be told in UTC") from error
    if in_utc.year < 1000:
        raise InvalidInput(f"{name}: {shown!r} is too far from now")
    return to_iso(in_utc)


def _is_between(time: dt.datetime | None, first: dt.datetime | str | None, end: dt.datetime | str | None) -> bool:
    if first is None and end is None:
        return True
    if time is None:
        return False
    told = to_iso(time)
    return (first is None or told >= read_time(first, "")) and (end is None or told < read_time(end, ""))


def _several(value: object, name: str) -> tuple[str, ...]:
    """Give one text or several as a tuple; of none at all, a caller must not get every run."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, Iterable) or isinstance(value, Mapping | bytes):
        raise InvalidInput(f"{name} must be a text or a list of texts, not {value!r} ({type(value).__name__})")
    found = tuple(value)
    if not found:
        raise InvalidInput(f"{name} is an empty list, which would mean every run: leave it out for that, or name one")
    for index, one in enumerate(found):
        if not isinstance(one, str):
            raise InvalidInput(f"{name}[{index}] must be a text, not {one!r} ({type(one).__name__})")
    return found


def _statuses(value: str | RunStatus | Iterable[str | RunStatus] | None) -> tuple[RunStatus, ...]:
    return tuple(_member(RunStatus, text) for text in _several(value, "status"))


def _tags(value: str | Iterable[str] | None) -> tuple[str, ...]:
    found = _several(value, "tag")
    for tag in found:
        _check_text(tag, "tag")
    return found


def _check_text(text: str, name: str) -> None:
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise InvalidInput(f"{name} holds a lone surrogate, which cannot be sent as UTF-8")


def _task(value: str | Task | None) -> Task | None:
    return None if value is None else _member(Task, value)


def _member(kind: Callable[[str], T], text: str) -> T:
    if not isinstance(text, str):
        raise InvalidInput(f"{getattr(kind, '__name__', 'it').lower()} must be a text, not {text!r}")
    names = [str(one) for one in kind]  # type: ignore[attr-defined] # an enumeration
    if text not in names:
        word = str(getattr(kind, "__name__", kind)).removeprefix("Run").lower()
        raise InvalidInput(
            f"there is no {word} {text!r}; there are {', '.join(names)}.{near_hint(text.upper(), names)}"
        )
    return kind(text)


def _thresholds(value: str | Iterable[str | MetricThreshold] | None) -> tuple[MetricThreshold, ...]:
    given: object = value
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        given = [str(one) if isinstance(one, MetricThreshold) else one for one in value]
    return tuple(MetricThreshold.parse(one) for one in _several(given, "metric"))


@attrs.frozen(kw_only=True)
class RunFilter:
    """Which runs a call is about; every condition that is given must hold, and none given means all of the user's.

    Args:
        experiment_name: Runs of this experiment.
        status: With this status, or one of these.
        name_prefix: Whose name starts so.
        tag: With this tag, or all of these.
        task: `training` or `generation`.
        created_after: Created at this time or later: a datetime, or an ISO 8601 text; without a zone, local time.
        created_before: Created before this time.
        finished_after: Ended at this time or later; runs that have not ended are left out.
        finished_before: Ended before this time.
        metric: A condition on a metric, or several, such as `after.reciprocal_rank>0.8`.

    Raises:
        InvalidInput: A value can be none of a run's.

    Example:
        >>> print(RunFilter(status="FAILED", tag="nightly"))
        status=FAILED tag=nightly
    """

    experiment_name: str | None = None
    status: tuple[RunStatus, ...] = attrs.field(default=None, converter=_statuses)
    name_prefix: str | None = None
    tag: tuple[str, ...] = attrs.field(default=None, converter=_tags)
    task: Task | None = attrs.field(default=None, converter=_task)
    created_after: dt.datetime | str | None = None
    created_before: dt.datetime | str | None = None
    finished_after: dt.datetime | str | None = None
    finished_before: dt.datetime | str | None = None
    metric: tuple[MetricThreshold, ...] = attrs.field(default=None, converter=_thresholds)

    def __attrs_post_init__(self) -> None:
        if self.experiment_name is not None:
            check_name(self.experiment_name, "experiment")
        if self.name_prefix is not None and not isinstance(self.name_prefix, str):
            raise InvalidInput(f"name_prefix must be a text, not {self.name_prefix!r}")
        if self.name_prefix == "":
            raise InvalidInput("name_prefix is empty, which would mean every run: leave it out for that")
        _check_text(self.name_prefix or "", "name_prefix")
        self.query()  # refuses what is no time

    def query(self) -> dict[str, object]:
        """Give the query parameters, without those that are not set."""
        found: dict[str, object] = {}
        for field in attrs.fields(RunFilter):
            value = getattr(self, field.name)
            if value not in (None, ()):
                name = "experiment" if field.name == "experiment_name" else field.name
                if name in TIMES:
                    value = read_time(value, name)
                found[name] = [str(one) for one in value] if isinstance(value, tuple) else str(value)
        return found

    def within(self, experiment_name: str) -> RunFilter:
        """Give this filter for one experiment alone."""
        given = {field.name: getattr(self, field.name) or None for field in attrs.fields(RunFilter)}
        return RunFilter(**{**given, "experiment_name": experiment_name})

    def matches(self, run: RunInfo) -> bool:
        """Say whether a run is one of these, as it stands."""
        return (
            self.experiment_name in (None, run.experiment_name)
            and (not self.status or run.status in self.status)
            and run.name.startswith(self.name_prefix or "")
            and set(self.tag) <= set(run.tags)
            and self.task in (None, run.task)
            and _is_between(run.created_at, self.created_after, self.created_before)
            and _is_between(run.finished_at, self.finished_after, self.finished_before)
            and all(one.holds(run.metrics.get(one.stage, {}).get(one.name)) for one in self.metric)
        )

    def __str__(self) -> str:
        shown = ((name, one) for name, value in self.query().items() for one in _several(value, name))
        return " ".join(f"{name}={value}" for name, value in shown) or "all runs"


def check_sort(sort: str) -> None:
    """Refuse an order that there is not.

    Raises:
        InvalidInput: There is none of that name; near ones are given.
    """
    name = sort.removeprefix("-")
    stage, dot, metric = name.partition(".")
    if name in _ORDERS or (dot and stage in STAGES and metric):
        return
    raise InvalidInput(
        f"sort: there is no order {sort!r}; there are {', '.join(_ORDERS)}, before.METRIC and after.METRIC, and each "
        f"with - before it for the other way.{near_hint(name, _ORDERS)}"
    )


def in_order(rows: Sequence[T], sort: str, raw_of: Callable[[T], Mapping[str, Any]]) -> list[T]:
    """Give runs in another order; those that lack what is sorted by come last, and equal ones stay as they were.

    Args:
        rows: The runs.
        sort: A name that `check_sort` takes; with `-` before it, greatest, newest or longest first.
        raw_of: Gives a run as the wire has it.
    """
    name, is_down = sort.removeprefix("-"), sort.startswith("-")
    keyed = [(_value(raw_of(row), name), row) for row in rows]
    there = sorted((one for one in keyed if one[0] is not None), key=lambda one: one[0], reverse=is_down)
    return [row for _, row in there] + [row for value, row in keyed if value is None]


def _value(raw: Mapping[str, Any], name: str) -> Any:
    stage, dot, metric = name.partition(".")
    if dot:
        return (raw.get("metrics") or {}).get(stage, {}).get(metric)
    if name == "created":
        return raw["seq"]
    if name == "duration":
        started, finished = raw.get("started_at"), raw.get("finished_at")
        if not started or not finished:
            return None
        return dt.datetime.fromisoformat(finished) - dt.datetime.fromisoformat(started)
    if name == "status":
        return list(RunStatus).index(RunStatus(raw["status"]))
    return raw.get({"name": "name", "experiment": "experiment_name"}.get(name, f"{name}_at"))
