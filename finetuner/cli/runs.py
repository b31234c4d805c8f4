"""`finetuner runs`: list, show, follow, wait for, cancel and delete runs."""

from __future__ import annotations

import datetime as dt
import sys
from typing import TYPE_CHECKING, Any

import click

from finetuner.cli.exits import ExitCode
from finetuner.cli.names import find_run, run_argument, runs_argument, shown_name
from finetuner.cli.settings import Settings
from finetuner.cli.text import count, note, say

if TYPE_CHECKING:
    from finetuner.aio.client import AsyncClient
    from finetuner.aio.run import AsyncRun
    from finetuner.api.types import RunInfo

DEFAULT_LIMIT = 50


@click.group()
def runs() -> None:
    """List, show, follow, cancel and delete runs.

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
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    help=f"At most so many, newest first; 0: all. [{DEFAULT_LIMIT} on a terminal, else all]",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of runs.")
@click.pass_obj
def list_(
    settings: Settings,
    experiment_name: str | None,
    status: tuple[str, ...],
    name_prefix: str | None,
    tag: tuple[str, ...],
    limit: int | None,
    as_json: bool,
) -> None:
    """List runs, newest first.

    Where stdout is no terminal, fields are separated by tabs, times are ISO 8601, and nothing is cut.
    """
    if limit is None:
        limit = DEFAULT_LIMIT if sys.stdout.isatty() and not as_json else 0

    async def work(client: AsyncClient) -> list[RunInfo]:
        found: list[RunInfo] = []
        async with client.iter_runs(
            experiment_name, status=status or None, name_prefix=name_prefix, tag=tag or None
        ) as listed:
            async for run in listed:
                found.append(run.info)
                if limit and len(found) > limit:
                    break
        return found

    found = settings.run(work)
    from finetuner.cli import render  # noqa: PLC0415 - help and completion load none of it

    shown = found[:limit] if limit else found
    if as_json:
        render.print_json(shown)
    else:
        if shown or not sys.stdout.isatty():
            render.print_runs(shown, _now())
        else:
            is_filtered = experiment_name or status or name_prefix or tag
            note("No runs match." if is_filtered else "No runs yet. `finetuner demo` makes one.")
        if len(found) > len(shown):
            note(f"The newest {limit} of more; `--limit 0` lists all.")


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
@run_argument
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines as they come, until the run has ended.")
@click.option("--after", type=click.IntRange(min=0), default=0, metavar="BYTE", help="With --follow: begin there.")
@click.option("-n", "--tail", type=click.IntRange(min=1), metavar="N", help="Only the last lines.")
@click.option("--contains", metavar="TEXT", help="Only lines that contain this text.")
@click.pass_obj
def logs(
    settings: Settings,
    run: str,
    experiment_name: str | None,
    follow: bool,
    after: int,
    tail: int | None,
    contains: str | None,
) -> None:
    """Print the log of a run, and with -f follow it.

    Ctrl-C ends the printing; the run goes on.
    """
    if follow and tail is not None:
        raise click.UsageError("--follow begins at the first line, or --after a byte; leave --tail out")
    if after and not follow:
        raise click.UsageError("--after goes with --follow")
    if not follow:
        settings.run(lambda client: _print_log(client, run, experiment_name, tail, contains))
        return
    where = Position(name=run, offset=after)
    try:
        settings.run(lambda client: _follow(client, where, experiment_name, contains))
    except KeyboardInterrupt:
        where.tell_interrupted()
        raise


async def _print_log(
    client: AsyncClient, name: str, experiment_name: str | None, tail: int | None, contains: str | None
) -> None:
    run = await find_run(client, name, experiment_name)
    for line in await run.logs(tail=tail, contains=contains):
        say(line)


class Position:
    """How far a log was printed, for the one who goes on later."""

    def __init__(self, *, name: str, offset: int) -> None:
        self.name = name
        self.offset = offset
        self.ended = False

    def tell_interrupted(self) -> None:
        """Say after Ctrl-C what became of the run, and what can be done."""
        if self.ended:
            return
        note(f"\nStopped printing; the run {self.name} goes on.")
        note(f"  follow it:  finetuner runs logs -f {self.name}" + (f" --after {self.offset}" if self.offset else ""))
        note(f"  cancel it:  finetuner runs cancel {self.name}")


async def _follow(client: AsyncClient, where: Position, experiment_name: str | None, contains: str | None) -> None:
    run = await find_run(client, where.name, experiment_name)
    where.name = shown_name(run.info)
    async with run.stream_logs(after=where.offset) as log:
        async for line in log:
            where.offset = log.offset
            if contains is None or contains in line:
                say(line)
    where.ended = True
    await run.refresh()
    if sys.stderr.isatty():
        note(ending(run.info))


def ending(info: RunInfo) -> str:
    """Say how a run ended, in one line."""
    details = f": {info.details}" if info.details else ""
    return f"{shown_name(info)} {info.status}{details}"


@runs.command()
@runs_argument
@click.option("--timeout-s", type=click.FloatRange(min=0), metavar="SECONDS", help="Give up waiting after so long.")
@click.option("--json", "as_json", is_flag=True, help="Print each run as a JSON object on a line of its own.")
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

    async def work(client: AsyncClient) -> bool:
        waited = [await find_run(client, name, experiment_name) for name in names]
        failed = False
        async with client.as_completed(waited, timeout_s=timeout_s) as ended:
            async for run in ended:
                failed = failed or run.info.status == "FAILED"
                _tell(run, as_json)
        return failed

    if settings.run(work):
        context.exit(ExitCode.RUN_FAILED)


def _tell(run: AsyncRun, as_json: bool) -> None:
    from finetuner.cli import render  # noqa: PLC0415 - help and completion load none of it

    if as_json:
        render.print_json(run.info, indent=False)
    else:
        say(ending(run.info))


@runs.command()
@runs_argument
@click.pass_obj
def cancel(settings: Settings, names: tuple[str, ...], experiment_name: str | None) -> None:
    """Cancel runs: those that run are stopped, those that wait never start.

    A run that has ended stays as it is.
    """

    async def work(client: AsyncClient) -> None:
        for name in names:
            run = await find_run(client, name, experiment_name)
            if run.info.status.is_terminal:
                note(f"{ending(run.info)} (it had ended already)")
                continue
            await run.cancel()
            note(f"{shown_name(run.info)} is being cancelled")

    settings.run(work)


@runs.command()
@runs_argument
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete(settings: Settings, names: tuple[str, ...], experiment_name: str | None, yes: bool) -> None:
    """Delete runs with their logs and artifacts; one that runs is stopped first."""
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("deleting cannot be undone: say --yes where nobody can be asked")
        click.confirm(f"Delete {count(len(names), 'run')} ({', '.join(names)}) for good?", abort=True, err=True)

    async def work(client: AsyncClient) -> None:
        found = [await find_run(client, name, experiment_name) for name in names]
        for run in found:
            await run.delete()
            note(f"deleted {shown_name(run.info)}")

    settings.run(work)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
