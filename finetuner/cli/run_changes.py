"""What is done with a run that is there: `finetuner runs rerun` makes it again, `edit` changes its tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from finetuner.cli.completing import complete_variables
from finetuner.cli.names import find_run, run_argument, shown_name
from finetuner.cli.settings import Settings
from finetuner.cli.submitting import secrets as secrets_of
from finetuner.cli.text import note, say
from finetuner.cli.values import options_callback

if TYPE_CHECKING:
    from finetuner.aio.client import AsyncClient
    from finetuner.aio.run import AsyncRun
    from finetuner.api.plan import Plan
    from finetuner.api.types import RunInfo


@click.command()
@run_argument
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    callback=options_callback,
    help="A parameter of `fit` or `synthesize`, such as epochs=3; may be given more than once.",
)
@click.option("--run-name", metavar="NAME", help="Name of the new run; none given, the server makes one up.")
@click.option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_variables,
    help="Pass this variable of the environment on to the job; may be given more than once.",
)
@click.option("--dry-run", is_flag=True, help="Check all of it and print what would be done; nothing is created.")
@click.option("--json", "as_json", is_flag=True, help="Print the run, or the plan, as a JSON object.")
@click.pass_obj
def rerun(
    settings: Settings,
    run: str,
    experiment_name: str | None,
    changes: dict[str, Any] | None,
    run_name: str | None,
    secrets: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Submit a run again, with its data and callbacks, and print the new one's name.

    Nothing is uploaded. Secrets are never kept: give them again.
    """
    given: dict[str, Any] = {**(changes or {}), "run_name": run_name}
    if secrets:
        given["secrets"] = secrets_of(secrets)

    async def work(client: AsyncClient) -> AsyncRun | Plan:
        found = await find_run(client, run, experiment_name)
        made: AsyncRun | Plan = await found.rerun(dry_run=dry_run, **given)
        return made

    made = settings.run(work)
    from finetuner.api.plan import Plan  # noqa: PLC0415 - help and completion load none of it
    from finetuner.cli import render  # noqa: PLC0415

    value = made if isinstance(made, Plan) else made.info
    if as_json:
        render.print_json(value)
    elif isinstance(made, Plan):
        say(str(made))
    else:
        say(shown_name(made.info))
        note(f"Submitted. Follow it: finetuner runs logs -f {shown_name(made.info)}")


@click.command()
@run_argument
@click.option("--description", metavar="TEXT", help="For people; an empty one takes it away.")
@click.option("--tag", "add_tags", multiple=True, metavar="TAG", help="Add this tag; may be given more than once.")
@click.option("--untag", "remove_tags", multiple=True, metavar="TAG", help="Take this tag away; likewise.")
@click.option("--json", "as_json", is_flag=True, help="Print the run as a JSON object.")
@click.pass_obj
def edit(
    settings: Settings,
    run: str,
    experiment_name: str | None,
    description: str | None,
    add_tags: tuple[str, ...],
    remove_tags: tuple[str, ...],
    as_json: bool,
) -> None:
    """Change the tags and the description of a run, which may have ended."""
    if description is None and not add_tags and not remove_tags:
        raise click.UsageError("say what to change: --description, --tag or --untag")

    async def work(client: AsyncClient) -> RunInfo:
        found = await find_run(client, run, experiment_name)
        await found.update(description=description, add_tags=add_tags, remove_tags=remove_tags)
        return found.info

    info = settings.run(work)
    if as_json:
        from finetuner.cli import render  # noqa: PLC0415 - help and completion load none of it

        render.print_json(info)
    else:
        note(f"changed {shown_name(info)}: tags {', '.join(info.tags) or 'none'}")
