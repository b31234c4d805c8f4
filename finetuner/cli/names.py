"""How a command line names a run: `NAME`, `EXPERIMENT/NAME` or an id; completed from the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from click.shell_completion import CompletionItem

from finetuner.cli.settings import Settings

if TYPE_CHECKING:
    from finetuner.aio.client import AsyncClient
    from finetuner.aio.run import AsyncRun
    from finetuner.api.types import RunInfo

COMPLETION_TIMEOUT_S: Final = 1.0
"""A key press waits no longer than this for names."""
MAX_COMPLETIONS: Final = 50

Command = TypeVar("Command", bound=Callable[..., Any])


def shown_name(info: RunInfo) -> str:
    """Give the shortest text by which a command finds this run."""
    return info.name if info.experiment_name == "default" else f"{info.experiment_name}/{info.name}"


def ending(info: RunInfo) -> str:
    """Say how a run ended, in one line."""
    details = f": {info.details}" if info.details else ""
    return f"{shown_name(info)} {info.status}{details}"


async def find_run(client: AsyncClient, text: str, experiment_name: str | None) -> AsyncRun:
    """Get the run that a command line names.

    Args:
        client: Where to look.
        text: `NAME`, `EXPERIMENT/NAME`, or the run's id.
        experiment_name: What `--experiment-name` said; None means `default` for a bare name.

    Raises:
        InvalidName: No run can have that name.
        RunNotFound: There is none; near names are given.
    """
    from finetuner.api.names import is_id  # noqa: PLC0415 - help and completion load none of it
    from finetuner.errors import RunNotFound  # noqa: PLC0415

    if experiment_name is None and "/" in text:
        experiment_name, _, text = text.partition("/")
    try:
        return await client.get_run(text, experiment_name)
    except RunNotFound:
        if experiment_name is None and is_id(text):
            return await client.get_run_by_id(text)
        raise


def complete_runs(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Give the names that start so; nothing where no server answers at once."""
    return ask_for_names(context, lambda client: _names(client, incomplete))


def ask_for_names(
    context: click.Context, ask: Callable[[AsyncClient], Awaitable[list[CompletionItem]]]
) -> list[CompletionItem]:
    """Ask the server for what completes a word; nothing where none answers at once."""
    from finetuner.errors import FinetunerError  # noqa: PLC0415 - only a key press needs it

    async def in_time(client: AsyncClient) -> list[CompletionItem]:
        import anyio  # noqa: PLC0415 - only a key press needs it

        with anyio.move_on_after(COMPLETION_TIMEOUT_S):
            return await ask(client)
        return []

    root = context.find_root().params
    settings = Settings(host=root.get("host"), token_file=root.get("token_file"))
    try:
        return settings.run(in_time) if _server_runs(settings) else []
    except (FinetunerError, OSError, BaseExceptionGroup):
        return []


def _server_runs(settings: Settings) -> bool:
    """Whether a server is there to ask: a key press must not start one."""
    import os  # noqa: PLC0415 - only a key press needs it

    if settings.host or os.environ.get("FINETUNER_HOST"):
        return True
    from finetuner.local import find_server  # noqa: PLC0415

    return find_server() is not None


async def _names(client: AsyncClient, incomplete: str) -> list[CompletionItem]:
    experiment, slash, prefix = incomplete.rpartition("/")
    runs = await client.list_runs(
        experiment if slash else None, page=1, size=MAX_COMPLETIONS, name_prefix=prefix or None
    )
    found = [CompletionItem(shown_name(run.info), help=str(run.info.status)) for run in runs]
    return [item for item in found if item.value.startswith(incomplete)]


def run_argument(command: Command) -> Command:
    """Add the argument RUN and `--experiment-name`."""
    return click.argument("run", shell_complete=complete_runs)(experiment_option(command))


def runs_argument(command: Command) -> Command:
    """Add the argument RUN..., one or more, and `--experiment-name`."""
    return click.argument("names", metavar="RUN...", nargs=-1, required=True, shell_complete=complete_runs)(
        experiment_option(command)
    )


def experiment_option(command: Command) -> Command:
    """Add `--experiment-name`."""
    return click.option(
        "-e", "--experiment-name", metavar="NAME", help="The experiment of the run; `EXPERIMENT/NAME` says it too."
    )(command)
