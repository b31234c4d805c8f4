"""What is shown while runs are waited for, and how a command ends with a run that it submitted."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import attrs
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from finetuner.aio.live import Live
from finetuner.api import convert
from finetuner.api.words import duration
from finetuner.cli.console import PlainConsole
from finetuner.cli.live import feed, live
from finetuner.cli.names import ending, shown_name
from finetuner.cli.render import print_json
from finetuner.cli.text import note, say
from finetuner.errors import RunFailed, WaitTimeout

if TYPE_CHECKING:
    from finetuner.aio.client import AsyncClient
    from finetuner.aio.run import AsyncRun


class Waiting:
    """A bar that counts runs that have ended."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar = bar
        self._task = task

    def advance(self) -> None:
        """Count one more, and make room for a line about it."""
        self._bar.advance(self._task)


@contextmanager
def waiting_for(total: int) -> Iterator[Waiting]:
    """Show on a terminal's stderr how many of so many runs have ended, and how long it has taken."""
    bar = Progress(
        TextColumn("waiting"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=PlainConsole(stderr=True),
        transient=True,
        refresh_per_second=2,
        disable=not sys.stderr.isatty(),
        redirect_stdout=sys.stdout.isatty(),
    )
    with bar:
        yield Waiting(bar, bar.add_task("", total=total))


@attrs.define(kw_only=True)
class Following:
    """What a command does with the run that it submits."""

    wait: bool
    follow: bool
    timeout_s: float | None
    as_json: bool
    run: AsyncRun | None = None
    """Once it is submitted."""
    has_ended: bool = False

    async def after(self, client: AsyncClient, run: AsyncRun) -> None:
        """Tell of a run that was submitted, and wait for its end where that was asked for.

        Raises:
            RunFailed: It was waited for, and failed.
            WaitTimeout: The time was up; it goes on.
        """
        self.run = run
        name = shown_name(run.info)
        if not self.wait and not self.follow:
            if self.as_json:
                self._print_json()
            else:
                say(name)
            note(f"Submitted. Follow it: finetuner runs logs -f {name}")
            return
        if self.as_json or self.follow:
            note(f"Submitted {name}.")
        else:
            say(name)
        try:
            with anyio.fail_after(self.timeout_s):
                await self._watch(client, run)
        except TimeoutError as error:
            limit = duration(self.timeout_s or 0)
            raise WaitTimeout(
                f"run {name} has not ended after {limit} and goes on; follow it with `finetuner runs logs -f {name}`"
            ) from error
        self.has_ended = True
        try:
            await run.wait()
        except RunFailed:
            self._print_json()
            raise
        await run.refresh()
        self._print_json()
        note(ending(run.info))

    async def _watch(self, client: AsyncClient, run: AsyncRun) -> None:
        """Show the run until it has ended; what a program reads on stdout is the run alone."""
        on_stderr = PlainConsole(stderr=True) if self.as_json else None
        with live(on_stderr) as shown:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(feed, client, run, shown)
                if self.follow:
                    await _print_log(run, shown)
                else:
                    async with client.as_completed([run]) as ended:
                        async for _ in ended:
                            pass
                tasks.cancel_scope.cancel()

    def _print_json(self) -> None:
        if self.as_json and self.run is not None:
            print_json(run_json(self.run))

    def tell_interrupted(self) -> None:
        """Say after Ctrl-C what became of the run, and what can be done."""
        if self.run is None:
            note("\nStopped. If the run was submitted already, `finetuner runs list` has it.")
            return
        tell_stopped(self.run, has_ended=self.has_ended)


def tell_stopped(run: AsyncRun, *, has_ended: bool) -> None:
    """Say after Ctrl-C what became of a run, and what can be done."""
    name = shown_name(run.info)
    if has_ended:
        note(f"\nStopped. The run {name} has ended: finetuner runs show {name}")
        return
    note(f"\nStopped watching; the run {name} goes on.")
    note(f"  follow it:  finetuner runs logs -f {name}")
    note(f"  cancel it:  finetuner runs cancel {name}")


async def _print_log(run: AsyncRun, shown: Live) -> None:
    async with run.stream_logs() as log:
        async for line in log:
            shown.log(line)


def run_json(run: AsyncRun) -> dict[str, Any]:
    """Give a run as `runs show --json` prints it."""
    return {**convert.write(run.info), "config": run.config}
