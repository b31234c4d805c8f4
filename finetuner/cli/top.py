"""`finetuner top`: all runs as they are now, in a terminal."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from finetuner.cli.settings import Settings

if TYPE_CHECKING:
    from finetuner.aio.client import AsyncClient
    from finetuner.cli.topview import Board

REDRAW_S: Final = 0.5
"""How often the picture is renewed where no key is pressed."""
ORDERS: Final = ("lively", "created", "finished", "progress", "name")
_KEYS: Final = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1b[5~": "pgup",
    "\x1b[6~": "pgdn",
    "\x1b": "esc",
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\x08": "backspace",
}
_KEY: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z~]|\x1bO[A-Z]|.", re.DOTALL)


@click.command()
@click.option("-e", "--experiment-name", metavar="NAME", help="Only runs of this experiment.")
@click.option(
    "--status",
    multiple=True,
    type=click.Choice(["CREATED", "STARTED", "FINISHED", "FAILED"], case_sensitive=False),
    help="Only runs with this status, and those that leave it; may be given more than once.",
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

    Keys: s changes the order, r reverses it, f goes through the statuses, / finds by name or tag (Enter keeps what was
    found, Esc shows all again), arrows and PgUp, PgDn scroll, q ends.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("top needs a terminal; `finetuner runs list` prints the runs once")
    from finetuner.api.selecting import RunFilter  # noqa: PLC0415 - help and completion load none of it
    from finetuner.cli.topview import Board  # noqa: PLC0415

    given = {name: value for name, value in filters.items() if value not in (None, ())}
    board = Board(order=sort)
    which = RunFilter(**given)

    async def work(client: AsyncClient) -> None:
        await _look(client, which, board)

    try:
        settings.run(work)
    except KeyboardInterrupt:
        return


async def _look(client: AsyncClient, which: Any, board: Board) -> None:
    import anyio  # noqa: PLC0415 - help and completion load none of it
    from rich.live import Live  # noqa: PLC0415

    from finetuner.cli.console import PlainConsole  # noqa: PLC0415

    console = PlainConsole()

    async def hear() -> None:
        async with client.watch(which) as changes:
            async for change in changes:
                board.hear(change)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hear)
        with _keyboard() as keys, Live(console=console, screen=True, auto_refresh=False) as live:
            while board.is_open:
                live.update(board.picture(console.height, dt.datetime.now(dt.UTC)), refresh=True)
                with anyio.move_on_after(REDRAW_S):
                    board.press(await keys.get())
                    while not keys.empty():
                        board.press(keys.get_nowait())
        tasks.cancel_scope.cancel()


@contextmanager
def _keyboard() -> Iterator[asyncio.Queue[str]]:
    """Give the keys as they are pressed; the terminal is as it was afterwards."""
    import termios  # noqa: PLC0415 - only a terminal has it
    import tty  # noqa: PLC0415

    descriptor, keys = sys.stdin.fileno(), asyncio.Queue[str]()
    before = termios.tcgetattr(descriptor)
    loop = asyncio.get_running_loop()

    def read() -> None:
        for key in keys_of(os.read(descriptor, 1024).decode("utf-8", "replace")):
            keys.put_nowait(key)

    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, read)
    try:
        yield keys
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def keys_of(text: str) -> list[str]:
    """Give the keys that a terminal sent."""
    return [_KEYS.get(one, one) for one in _KEY.findall(text)]
