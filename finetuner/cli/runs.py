"""`finetuner runs`: the group, and what asks little of a run: list, show, wait, cancel, delete."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from finetuner.api.words import count
from finetuner.cli import run_changes, run_log, run_results
from finetuner.cli.exits import ExitCode
from finetuner.cli.names import ending, find_run, run_argument, runs_argument, shown_name
from finetuner.cli.settings import Settings
from finetuner.cli.text import note, say
from finetuner.cli.unknown import unknown_in_filters, unknown_in_order

if TYPE_CHECKING:
    from finetuner.aio.client import AsyncClient
    from finetuner.api.types import RunInfo

DEFAULT_LIMIT = 50

_json_lines = click.option(
    "--json", "as_json", is_flag=True, help="Print each run as a JSON object on a line of its own."
)


def _time(flag: str, what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(flag, metavar="TIME", help=f"Only runs {what}  ISO 8601, in local time where it has no zone.")


@click.group()
def runs() -> None:
    """List, show and follow runs, fetch what they gave, cancel and delete them.

    A run is named by its name, by EXPERIMENT/NAME where its experiment is not `default`, or by its id.
    """


@runs.command("list")
@click.option("-e", "--experiment-name", metavar="NAME", help="Only runs of this experiment.")
@click.option(
    "--status",
    multiple=True,
    type=click.Choice(["CREATED", "STARTED", "FINISHED", "FAILED"], case_sensitive=False),
    help="Only runs with this status; may be given more than once.",
)
@click.option("--name-prefix", metavar="TEXT", help="Only runs whose name starts so.")
@click.option("--tag", multiple=True, metavar="TAG", help="Only runs with this tag; may be given more than once.")
@click.option("--task", type=click.Choice(["training", "generation"]), help="Only runs that do this.")
@_time("--created-after", "created at this time or later.")
@_time("--created-before", "created before this time.")
@_time("--finished-after", "that ended at this time or later.")
@_time("--finished-before", "that ended before this time.")
@click.option(
    "--metric",
    multiple=True,
    metavar="CONDITION",
    help="Only runs that fulfil it, such as 'after.reciprocal_rank>0.8'; may be given more than once.",
)
@click.option(
    "--sort",
    metavar="ORDER",
    help="created, started, finished, duration, name, experiment, status, before.METRIC or after.METRIC; with - before "
    "it the other way.  [newest first]",
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    help=f"At most so many, newest first; 0: all. [{DEFAULT_LIMIT} on a terminal, else all]",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of runs.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV: a header, then a row a run, a column a metric.")
@click.pass_obj
def list_(
    settings: Settings, /, limit: int | None, as_json: bool, as_csv: bool, sort: str | None, **filters: Any
) -> None:
    """List runs, newest first.

    Where stdout is no terminal, fields are separated by tabs, times are ISO 8601, and nothing is cut.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv: one of them")
    if limit is None:
        limit = DEFAULT_LIMIT if sys.stdout.isatty() and not as_json and not as_csv else 0
    given = {name: value for name, value in filters.items() if value not in (None, ())}

    found, hints = settings.run(lambda client: _listed(client, given, sort, limit))
    for hint in hints:
        note(hint)
    shown = found[:limit] if limit else found
    if as_json or as_csv:
        from finetuner.cli import render  # noqa: PLC0415 - help and completion load none of it

        (render.print_json if as_json else render.print_csv)(shown)
        return
    _print_list(shown, has_filter=bool(given))
    if len(found) > len(shown):
        note(f"The {'first' if sort else 'newest'} {limit} of more; `--limit 0` lists all.")


def _print_list(shown: list[RunInfo], *, has_filter: bool) -> None:
    if shown or not sys.stdout.isatty():
        from finetuner.cli import render  # noqa: PLC0415 - help and completion load none of it

        render.print_runs(shown, _now())
    else:
        note("No runs match." if has_filter else "No runs yet. `finetuner demo` makes one.")


async def _listed(
    client: AsyncClient, filters: dict[str, Any], sort: str | None, limit: int
) -> tuple[list[RunInfo], list[str]]:
    """Give the runs of a list, one more than its limit where there are more, and what may have been misspelt."""
    if sort is not None:
        found = [run.info for run in await client.list_runs(**filters, sort=sort, with_config=False)]
        if found and "." in sort:
            return found, unknown_in_order(sort, found)
    else:
        found = []
        async with client.iter_runs(**filters, with_config=False) as listed:
            async for run in listed:
                found.append(run.info)
                if limit and len(found) > limit:
                    break
    return found, [] if found else await unknown_in_filters(client, filters)


@runs.command()
@run_argument
@click.option("--json", "as_json", is_flag=True, help="Print the run, its config included, as a JSON object.")
@click.pass_obj
def show(settings: Settings, run: str, experiment_name: str | None, as_json: bool) -> None:
    """Show one run: status, times, metrics, failure, config."""

    async def work(client: AsyncClient) -> tuple[RunInfo, dict[str, Any]]:
        found = await find_run(client, run, experiment_name)
        return found.info, found.config

    info, config = settings.run(work)
    from finetuner.api import convert  # noqa: PLC0415 - help and completion load none of it
    from finetuner.cli import render  # noqa: PLC0415

    if as_json:
        render.print_json({**convert.write(info), "config": config})
    else:
        render.print_run(info, config, _now())


@runs.command()
@runs_argument
@click.option("--timeout-s", type=click.FloatRange(min=0), metavar="SECONDS", help="Give up waiting after so long.")
@_json_lines
@click.pass_context
def wait(
    context: click.Context,
    names: tuple[str, ...],
    experiment_name: str | None,
    timeout_s: float | None,
    as_json: bool,
) -> None:
    """Wait until runs have ended, and tell each as it does.

    The exit code is 3 when one of them failed, 4 when the time was up first.
    """
    settings: Settings = context.obj
    from finetuner.cli import following  # noqa: PLC0415 - help and completion load none of it

    async def work(client: AsyncClient) -> bool:
        waited = [await find_run(client, name, experiment_name) for name in names]
        failed = False
        with following.waiting_for(len(waited)) as bar:
            async with client.as_completed(waited, timeout_s=timeout_s) as ended:
                async for run in ended:
                    failed = failed or run.info.status == "FAILED"
                    bar.advance()
                    _tell(run.info, as_json=as_json, text=ending(run.info))
        return failed

    try:
        failed = settings.run(work)
    except KeyboardInterrupt:
        note("\nStopped waiting; the runs go on.")
        raise
    if failed:
        context.exit(ExitCode.RUN_FAILED)


def _tell(info: RunInfo, *, as_json: bool, text: str) -> None:
    from finetuner.cli import render  # noqa: PLC0415 - help and completion load none of it

    if as_json:
        render.print_json(info, indent=False)
    else:
        say(text)


@runs.command()
@runs_argument
@_json_lines
@click.pass_obj
def cancel(settings: Settings, names: tuple[str, ...], experiment_name: str | None, as_json: bool) -> None:
    """Cancel runs: those that run are stopped, those that wait never start.

    A run that has ended stays as it is.
    """

    async def work(client: AsyncClient) -> None:
        for name in names:
            run = await find_run(client, name, experiment_name)
            text = f"{ending(run.info)} (it had ended already)"
            if not run.info.status.is_terminal:
                await run.cancel()
                text = f"{shown_name(run.info)} is being cancelled"
            _done(run.info, as_json=as_json, text=text)

    settings.run(work)


def _done(info: RunInfo, *, as_json: bool, text: str) -> None:
    """Tell what was done: to a person on stderr, to a program on stdout."""
    if as_json:
        _tell(info, as_json=True, text=text)
    else:
        note(text)


@runs.command()
@runs_argument
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@_json_lines
@click.pass_obj
def delete(settings: Settings, names: tuple[str, ...], experiment_name: str | None, yes: bool, as_json: bool) -> None:
    """Delete runs with their logs and artifacts; one that runs is stopped first."""
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("deleting cannot be undone: say --yes where nobody can be asked")
        click.confirm(f"Delete {count(len(names), 'run')} ({', '.join(names)}) for good?", abort=True, err=True)

    async def work(client: AsyncClient) -> None:
        found = [await find_run(client, name, experiment_name) for name in names]
        for run in found:
            await run.delete()
            _done(run.info, as_json=as_json, text=f"deleted {shown_name(run.info)}")

    settings.run(work)


for _command in (
    run_changes.rerun,
    run_changes.edit,
    run_log.logs,
    run_results.metrics,
    run_results.examples,
    run_results.download,
    run_results.open_,
):
    runs.add_command(_command)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
