"""Runs as people read them: a list, a page, a table of metrics. Machines read `--json`."""

from __future__ import annotations

import csv
import datetime as dt
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from finetuner.api import convert
from finetuner.api.selecting import STAGES
from finetuner.api.standing import details_text, progress_text, stalled_text, took_s
from finetuner.api.types import Json, Metrics, RunInfo, RunStatus
from finetuner.api.visible import visible
from finetuner.api.words import ago, count, duration
from finetuner.cli import columns
from finetuner.cli.console import PlainConsole
from finetuner.cli.names import shown_name
from finetuner.cli.text import put

STYLES: Final[Mapping[RunStatus, str]] = {
    RunStatus.CREATED: "yellow",
    RunStatus.STARTED: "cyan",
    RunStatus.FINISHED: "green",
    RunStatus.FAILED: "red",
}
_CSV_COLUMNS: Final = tuple(
    "id name experiment_name status details task created_at started_at finished_at stalled_since device tags "
    "description artifact_id".split()
)
COLUMNS: Final = (columns.RUN, columns.STATUS, columns.CREATED, columns.TOOK, columns.DETAILS)


def json_bytes(value: Any, *, indent: bool = False) -> bytes:
    """Encode a value as the wire has it: times in ISO 8601, UTC."""
    return orjson.dumps(convert.write(value), option=orjson.OPT_INDENT_2 if indent else None)


def print_json(value: Any, *, indent: bool = True) -> None:
    """Print one JSON document on stdout."""
    put(json_bytes(value, indent=indent).decode() + "\n")


def print_runs(infos: Sequence[RunInfo], now: dt.datetime) -> None:
    """Print a list of runs: a table on a terminal, else lines with tabs between the fields, nothing cut."""
    if not sys.stdout.isatty():
        for row in (COLUMNS, *(_plain_row(info, now) for info in infos)):
            sys.stdout.write("\t".join(row) + "\n")
        return
    console = PlainConsole()
    script = columns.Script(console.encoding)
    rows = [tuple(map(script.written, _row(info, now))) for info in infos]
    natural = {name: max(map(cell_len, cells)) for name, *cells in zip(COLUMNS, COLUMNS, *rows, strict=True)}
    widths = columns.fitted(natural, console.width)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, cells in widths.items():
        # A name stays whole, though on several lines: it is what other commands take.
        table.add_column(name, width=cells, no_wrap=name != columns.RUN, overflow="fold")
    for info, row in zip(infos, rows, strict=True):
        shown = dict(zip(COLUMNS, row, strict=True))
        table.add_row(
            *(
                Text(
                    shown[name] if name == columns.RUN else script.cut(shown[name], cells),
                    STYLES[info.status] if name == columns.STATUS else "",
                )
                for name, cells in widths.items()
            )
        )
    console.print(table)


def _row(info: RunInfo, now: dt.datetime) -> tuple[str, ...]:
    took = took_s(info, now)
    return (
        shown_name(info),
        info.status,
        ago(info.created_at, now),
        "" if took is None else duration(took),
        " ".join(details_text(info).split()),
    )


def print_csv(infos: Sequence[RunInfo]) -> None:
    """Print runs as CSV: times in ISO 8601, UTC, tags as a JSON array, metrics in columns at the end."""
    measured = dict.fromkeys(
        f"{stage}.{name}" for stage in STAGES for info in infos for name in info.metrics.get(stage, {})
    )
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([*_CSV_COLUMNS, "duration_s", *measured])
    for info in infos:
        value = convert.write(info)
        took = took_s(info, info.finished_at) if info.finished_at else None
        cells = [json_bytes(value[name]).decode() if name == "tags" else value[name] for name in _CSV_COLUMNS]
        metrics = {f"{stage}.{name}": one for stage, named in info.metrics.items() for name, one in named.items()}
        writer.writerow([*cells, took, *(metrics.get(name) for name in measured)])
    sys.stdout.flush()


def _plain_row(info: RunInfo, now: dt.datetime) -> tuple[str, ...]:
    took = took_s(info, now)
    return (
        shown_name(info),
        info.status,
        convert.to_iso(info.created_at),
        "" if took is None else f"{took:.0f} s",
        visible(details_text(info)).replace("\t", " "),
    )


def print_run(info: RunInfo, config: Mapping[str, Json], now: dt.datetime) -> None:
    """Print all that is known of one run."""
    out = PlainConsole()
    out.print(Text.assemble((shown_name(info), "bold"), "  ", (info.status, STYLES[info.status])), soft_wrap=True)
    for name, value in _facts(info, now):
        out.print(Text.assemble((f"  {name:<13}", "dim"), visible(value)), soft_wrap=True)
    if info.failure is not None:
        _print_failure(out, info)
    if info.metrics:
        out.print()
        out.print(metrics_table(info.metrics))
    if config:
        out.print("\nConfig", style="bold")
        for name, value in _flat(config):
            out.print(Text.assemble(f"  {visible(name)}  ", (visible(value), "cyan")), soft_wrap=True)
    out.print(f"\nIts log: finetuner runs logs {shown_name(info)}", style="dim", soft_wrap=True)


def _facts(info: RunInfo, now: dt.datetime) -> Iterator[tuple[str, str]]:
    yield from (("details", info.details),) if info.details else ()
    if info.stalled_since is not None and not info.status.is_terminal:
        since = f"{info.stalled_since.astimezone():%Y-%m-%d %H:%M:%S} ({ago(info.stalled_since, now)})"
        yield "stalled", stalled_text(since).removeprefix("stalled ")
    if info.progress is not None and not info.status.is_terminal:
        yield "progress", progress_text(info.progress)
    yield "id", info.id
    for name, time in (("created", info.created_at), ("started", info.started_at), ("finished", info.finished_at)):
        if time is not None:
            yield name, f"{time.astimezone():%Y-%m-%d %H:%M:%S} ({ago(time, now)})"
    took = took_s(info, now)
    if took is not None:
        yield "took" if info.finished_at else "so far", duration(took)
    if info.device is not None:
        cores = f", {count(info.cpus, 'core')}" if info.cpus else ""
        yield "device", f"{info.device}{cores}" + (f", {count(info.gpus, 'GPU')}" if info.gpus else "")
    if info.tags:
        yield "tags", ", ".join(info.tags)
    yield from (("description", info.description),) if info.description else ()
    if info.status is RunStatus.FINISHED:
        yield "artifact", info.artifact_id


def _print_failure(out: Console, info: RunInfo) -> None:
    failure = info.failure
    if failure is None:
        return
    out.print()
    out.print(Text(f"{visible(failure.type)}: {_lines(failure.message)}", "red"), soft_wrap=True)
    if failure.hint:
        out.print(Text(_lines(failure.hint)), soft_wrap=True)
    if failure.last_lines:
        out.print("Its log ended:", style="dim")
        for line in failure.last_lines[-10:]:
            out.print(Text(f"  {visible(line)}"), soft_wrap=True)


def _lines(text: str) -> str:
    return "\n".join(visible(line) for line in text.split("\n"))


def metrics_table(metrics: Metrics) -> Table:
    """Make the table of metrics before and after, as a run gives them."""
    before, after = metrics.get("before", {}), metrics.get("after", {})
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("Metric", overflow="fold")
    for name in ("before", "after", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in dict.fromkeys((*before, *after)):
        pair = before.get(name), after.get(name)
        change = "" if None in pair else f"{pair[1] - pair[0]:+.3f}"  # type: ignore[operator]
        table.add_row(visible(name), *("" if value is None else f"{value:.3f}" for value in pair), change)
    return table


def _flat(value: Json, name: str = "") -> Iterator[tuple[str, str]]:
    """Give the fields of a config that are set, each by its dotted path."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for index, item in enumerate(value):
            yield from _flat(item, f"{name}[{index}]")
    elif value is not None and value != []:
        yield name, value if isinstance(value, str) else orjson.dumps(value).decode()
