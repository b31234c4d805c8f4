"""What `finetuner fit` and `finetuner synthesize` share: the flags of every run, and what becomes of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from finetuner.cli.completing import complete_variables
from finetuner.cli.settings import Settings
from finetuner.cli.values import options_callback

if TYPE_CHECKING:
    from finetuner.aio.client import AsyncClient
    from finetuner.aio.run import AsyncRun
    from finetuner.data import CSVOptions

Command = TypeVar("Command", bound=Callable[..., Any])

_RUN_OPTIONS = (
    click.option("--run-name", metavar="NAME", help="Name of the run; none given, the server makes one up."),
    click.option("--description", metavar="TEXT", help="For people."),
    click.option("-e", "--experiment-name", metavar="NAME", help="The experiment it belongs to.  [default: default]"),
    click.option(
        "--device",
        type=click.Choice(["cuda", "cpu"]),
        default="cuda",
        show_default=True,
        help="This machine's own server uses the CPU where there is no GPU.",
    ),
    click.option(
        "--num-workers",
        type=int,
        default=4,
        show_default=True,
        help="Processes that tokenize ahead of a training, at most.",
    ),
    click.option(
        "--csv-options",
        multiple=True,
        metavar="KEY=VALUE",
        callback=options_callback,
        help="How to read CSV files: size, sampling_rate, dialect, encoding, is_labeled; may be given more than once.",
    ),
    click.option("--public", is_flag=True, help="Let every user of the server read the artifact."),
    click.option(
        "--tag", "tags", multiple=True, metavar="TAG", help="A word to find the run by; may be given more than once."
    ),
    click.option(
        "--secret",
        "secrets",
        multiple=True,
        metavar="NAME",
        shell_complete=complete_variables,
        help="Pass this variable of the environment on to the job; never shown or logged. May be given more than once.",
    ),
    click.option(
        "--idempotency-key",
        metavar="KEY",
        help="The key of an interrupted call: gives that call's run if there is one, never a second.",
    ),
    click.option(
        "--progress/--no-progress", default=None, help="Show a bar while data is uploaded.  [default: on a terminal]"
    ),
    click.option(
        "--dry-run", is_flag=True, help="Check all of it and print what would be done; nothing is created or uploaded."
    ),
    click.option("--wait", is_flag=True, help="Wait until the run has ended."),
    click.option("--follow", "-f", is_flag=True, help="Print its log until it has ended."),
    click.option(
        "--timeout-s",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="With --wait or --follow: give up after so long; the run goes on.",
    ),
    click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="Print the run, its config included, as a JSON object; its log to stderr.",
    ),
)


def run_options(command: Command) -> Command:
    """Add the flags that every submission has."""
    for option in reversed(_RUN_OPTIONS):
        command = option(command)
    return command


def submit(
    settings: Settings,
    fit: Callable[[AsyncClient, dict[str, Any]], Awaitable[Any]],
    given: dict[str, Any],
    *,
    wait: bool,
    follow: bool,
    timeout_s: float | None,
    as_json: bool,
) -> None:
    """Submit a run, tell of it, and wait for it where that was asked for.

    Args:
        settings: The options before the command.
        fit: Submits it, with the arguments it is given, and gives the run, or with `dry_run` the plan.
        given: The command's flags, by the SDK's names.
        wait: Whether to wait until the run has ended.
        follow: Whether to print its log until then.
        timeout_s: Longest wait.
        as_json: Whether a program reads the answer.
    """
    if timeout_s is not None and not (wait or follow):
        raise click.UsageError("--timeout-s goes with --wait or --follow")
    arguments = {
        **given,
        "csv_options": csv_options(given["csv_options"]),
        "tags": list(given["tags"]) or None,
        "secrets": secrets(given["secrets"]) or None,
    }
    if given["dry_run"]:
        if wait or follow:
            raise click.UsageError("--dry-run makes no run: leave --wait and --follow out")
        print_plan(settings, fit, arguments, as_json=as_json)
        return
    from finetuner.cli.following import Following  # noqa: PLC0415 - help and completion load none of it

    following = Following(wait=wait, follow=follow, timeout_s=timeout_s, as_json=as_json)

    async def work(client: AsyncClient) -> None:
        run: AsyncRun = await fit(client, arguments)
        await following.after(client, run)

    try:
        settings.run(work)
    except KeyboardInterrupt:
        following.tell_interrupted()
        raise


def print_plan(
    settings: Settings,
    fit: Callable[[AsyncClient, dict[str, Any]], Awaitable[Any]],
    arguments: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    """Print what a submission would do."""
    plan = settings.run(lambda client: fit(client, arguments))
    from finetuner.cli import render  # noqa: PLC0415 - help and completion load none of it
    from finetuner.cli.text import say  # noqa: PLC0415

    if as_json:
        render.print_json(plan)
    else:
        say(str(plan))


def csv_options(given: dict[str, Any] | None) -> CSVOptions | None:
    """Make the SDK's options of what the flag says.

    Raises:
        click.UsageError: There is no such option; near names are given.
        InvalidInput: A value cannot be used.
    """
    if given is None:
        return None
    import attrs  # noqa: PLC0415 - help and completion load none of it

    from finetuner.api.names import near_hint  # noqa: PLC0415
    from finetuner.data import CSVOptions  # noqa: PLC0415

    known = attrs.fields_dict(CSVOptions)
    for key, value in given.items():
        if key not in known:
            raise click.UsageError(
                f"--csv-options has no {key!r}.{near_hint(key, known)} It has: {', '.join(sorted(known))}"
            )
        if isinstance(known[key].default, bool) and not isinstance(value, bool):
            raise click.UsageError(f"--csv-options {key}: must be true or false, not {value!r}")
    return CSVOptions(**given)


def secrets(names: Sequence[str]) -> dict[str, str]:
    """Take secrets from the environment: a command line is seen by everyone on the machine.

    Raises:
        click.UsageError: One is not there, or was given with its value.
    """
    for name in names:
        if "=" in name:
            raise click.UsageError("--secret takes a variable's name alone: its value stays in the environment")
        if name not in os.environ:
            raise click.UsageError(f"--secret {name}: the environment has no such variable; export it first")
    return {name: os.environ[name] for name in names}


def data_source(given: str | None) -> Any:
    """Give what the SDK takes for a data flag: `-` is standard input."""
    return sys.stdin if given == "-" else given
