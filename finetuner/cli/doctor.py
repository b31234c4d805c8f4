"""`finetuner doctor`: what is installed, where state is kept, which server answers; nothing is started or changed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from finetuner.api.visible import visible
from finetuner.api.words import count
from finetuner.cli.exits import ExitCode
from finetuner.cli.settings import Settings
from finetuner.cli.text import say_json

if TYPE_CHECKING:
    from finetuner.cli.finding import Finding

STYLES: Final = {"ok": "green", "warning": "yellow", "broken": "red"}


@click.command()
@click.option(
    "--timeout-s",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a server or the hub may take to answer.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON object: healthy, findings (name, state, message, hint)."
)
@click.pass_context
def doctor(context: click.Context, timeout_s: float, as_json: bool) -> None:
    """Check this installation, and explain what is wrong.

    Nothing is started or changed. The exit code is 1 where something is broken; a warning breaks nothing.
    """
    from finetuner.cli.health_folders import folders  # noqa: PLC0415 - help and completion load none of it
    from finetuner.cli.health_network import hub, server  # noqa: PLC0415
    from finetuner.cli.health_packages import packages  # noqa: PLC0415

    settings: Settings = context.obj
    found: list[Finding] = []
    for check in (packages, folders, lambda: server(settings, timeout_s), lambda: hub(timeout_s)):
        for finding in check():
            found.append(finding)
            if not as_json:
                _print(finding)
    broken = sum(one.state == "broken" for one in found)
    if as_json:
        say_json({"healthy": not broken, "findings": [one.to_json() for one in found]})
    else:
        _print_end(found, broken)
    context.exit(ExitCode.ERROR if broken else ExitCode.OK)


def _print(finding: Finding) -> None:
    from rich.text import Text  # noqa: PLC0415 - help and completion load none of it

    from finetuner.cli.console import PlainConsole  # noqa: PLC0415

    out = PlainConsole()
    state = (f"{finding.state:<8}", STYLES[finding.state])
    out.print(Text.assemble(state, (f"{finding.name:<11}", "bold"), visible(finding.message)), soft_wrap=True)
    if finding.hint:
        out.print(Text(f"{'':19}{visible(finding.hint)}"), soft_wrap=True)
    sys.stdout.flush()


def _print_end(found: Sequence[Finding], broken: int) -> None:
    warnings = sum(one.state == "warning" for one in found)
    if broken:
        words = f"{count(broken, 'thing')} broken, {count(warnings, 'warning')}."
    else:
        words = f"Nothing is broken; {count(warnings, 'warning')}." if warnings else "All is well."
    click.echo(f"\n{words}")
