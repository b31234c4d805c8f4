"""`finetuner top`: all runs as they are now, in a terminal."""

from __future__ import annotations

import datetime as dt
import math
import os
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from finetuner.cli.settings import Settings

if TYPE_CHECKING:
    from finetuner.aio.client import AsyncClient
    from finetuner.cli.topview import Board

REDRAW_S: Final = 0.5
"""How often the picture is renewed where no key is pressed."""
ORDERS: Final = ("lively", "created", "finished", "progress", "name")
DUMB: Final = ("dumb", "unknown")
"""What TERM says of a terminal that can only write on, line by line."""


@click.command()
@click.option("-e", "--experiment-name", metavar="NAME", help="Only runs of this experiment.")
@click.option(
    "--status",
    multiple=True,
    type=click.Choice(["CREATED", "STARTED", "FINISHED", "FAILED"], case_sensitive=False),
    help="Only runs with this status, and those of them that end meanwhile; may be given more than once.",
)
@click.option("--name-prefix", metavar="TEXT", help="Only runs whose name starts so.")
@click.option("--tag", multiple=True, metavar="TAG", help="Only runs with this tag; may be given more than once.")
@click.option("--task", type=click.Choice(["training", "generation"]), help="Only runs that do this.")
@click.option(
    "--sort",
    type=click.Choice(ORDERS),
    default=ORDERS[0],
    show_default=True,
    help="lively: those that run first, stalled ones before them.",
)
@click.pass_obj
def top(settings: Settings, /, sort: str, **filters: Any) -> None:
    """Watch all runs at once, over one connection, until q or Ctrl-C.

    Where the server is away it says so, and goes on once it is back. Keys: s changes the order, r reverses it, f goes
    through the statuses, / finds by name or tag (Enter keeps what was found, Esc shows all again), arrows, PgUp, PgDn,
    Home (g) and End (G) scroll, ? tells all keys, Ctrl-Z suspends, q ends.
    """
    otherwise = "`finetuner runs list` prints the runs once"
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError(f"top needs a terminal; {otherwise}")
    if os.environ.get("TERM", "").lower() in DUMB:
        raise click.UsageError(
            f"top needs a terminal that can be drawn on, and TERM says that this cannot; {otherwise}"
        )
    from finetuner.api.selecting import RunFilter  # noqa: PLC0415 - help and completion load none of it
    from finetuner.cli.topview import Board  # noqa: PLC0415

    given = {name: value for name, value in filters.items() if value not in (None, ())}
    board = Board(order=sort, which=RunFilter(**given))

    async def work(client: AsyncClient) -> int:
        return await _look(client, board)

    try:
        code = settings.run(work)
    except KeyboardInterrupt:
        return
    if code:
        raise click.exceptions.Exit(code)


async def _look(client: AsyncClient, board: Board) -> int:
    """Show the board until it is closed, and give the exit code."""
    import anyio  # noqa: PLC0415 - help and completion load none of it
    from rich.live import Live  # noqa: PLC0415

    from finetuner.api.selecting import RunFilter  # noqa: PLC0415
    from finetuner.cli.columns import Script  # noqa: PLC0415
    from finetuner.cli.console import PlainConsole  # noqa: PLC0415
    from finetuner.cli.keyboard import ENDINGS, SUSPEND, Keyboard  # noqa: PLC0415
    from finetuner.cli.topscreen import Screen, picture  # noqa: PLC0415

    console = PlainConsole()
    changes = client.watch(RunFilter(experiment_name=board.which.experiment_name))
    changes.reconnect_timeout_s = math.inf
    code = 0

    async def hear() -> None:
        async with changes:
            async for change in changes:
                board.hear(change)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hear)
        with Keyboard(sys.stdin.fileno()) as keys, Live(console=console, screen=True, auto_refresh=False) as live:
            while board.is_open:
                board.host, board.away_s, board.is_heard = client.host, changes.away_s, changes.cursor is not None
                screen = Screen(width=console.width, height=console.height, script=Script(console.encoding))
                try:
                    live.update(picture(board, screen, dt.datetime.now(dt.UTC)), refresh=True)
                    for key in await keys.get(REDRAW_S):
                        if key == SUSPEND:
                            live.stop()
                            keys.suspend()
                            live.start()
                        elif key in ENDINGS:
                            code, board.is_open = 128 + ENDINGS[key], False
                        else:
                            board.press(key)
                except OSError:
                    if not keys.is_gone:
                        raise
                if keys.is_gone:
                    _show_nothing()  # what says so is heard next, if it was not now
        tasks.cancel_scope.cancel()
    return code


def _show_nothing() -> None:
    """Let what is still written go nowhere: the terminal is gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
