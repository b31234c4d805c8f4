"""`finetuner runs logs`: the log of a run, printed or followed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from finetuner.cli.names import ending, find_run, run_argument, shown_name
from finetuner.cli.settings import Settings
from finetuner.cli.text import note, say

if TYPE_CHECKING:
    from finetuner.aio.client import AsyncClient


@click.command()
@run_argument
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines as they come, until the run has ended.")
@click.option("--after", type=click.IntRange(min=0), default=0, metavar="BYTE", help="With --follow: begin there.")
@click.option(
    "-n", "--tail", type=click.IntRange(min=1), metavar="N", help="Only the last lines; with --follow, and what comes."
)
@click.option(
    "--level", metavar="LEVEL", help="Only lines of this level or above: debug, info, warning, error, critical."
)
@click.option("--contains", metavar="TEXT", help="Only lines that contain this text.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print each line as a JSON object: line, and with --follow its offset."
)
@click.pass_obj
def logs(
    settings: Settings,
    run: str,
    experiment_name: str | None,
    follow: bool,
    after: int,
    tail: int | None,
    level: str | None,
    contains: str | None,
    as_json: bool,
) -> None:
    """Print the log of a run, and with -f follow it.

    Ctrl-C ends the printing; the run goes on.
    """
    if after and not follow:
        raise click.UsageError("--after goes with --follow")
    wish = {"tail": tail, "level": level, "contains": contains}
    if not follow:
        settings.run(lambda client: _print_log(client, run, experiment_name, wish, as_json=as_json))
        return
    where = Position(name=run, offset=after)
    try:
        settings.run(lambda client: _follow(client, where, experiment_name, wish, as_json=as_json))
    except KeyboardInterrupt:
        where.tell_interrupted()
        raise


async def _print_log(
    client: AsyncClient,
    name: str,
    experiment_name: str | None,
    wish: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    run = await find_run(client, name, experiment_name)
    for line in await run.logs(**wish):
        _print(line, None, as_json=as_json)


def _print(line: str, offset: int | None, *, as_json: bool) -> None:
    if not as_json:
        say(line)
        return
    from finetuner.cli import render  # noqa: PLC0415 - help and completion load none of it

    render.print_json({"line": line} if offset is None else {"offset": offset, "line": line}, indent=False)


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


async def _follow(
    client: AsyncClient, where: Position, experiment_name: str | None, wish: dict[str, Any], *, as_json: bool
) -> None:
    run = await find_run(client, where.name, experiment_name)
    where.name = shown_name(run.info)
    async with run.stream_logs(after=where.offset, **wish) as log:
        async for line in log:
            where.offset = log.offset
            _print(line, log.offset, as_json=as_json)
    where.ended = True
    await run.refresh()
    if sys.stderr.isatty():
        note(ending(run.info))
