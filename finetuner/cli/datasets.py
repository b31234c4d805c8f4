"""`finetuner data`: the data sets that the server has, by their names."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem

from finetuner.cli.completing import complete_files, starting
from finetuner.cli.names import ask_for_names
from finetuner.cli.settings import Settings
from finetuner.cli.submitting import csv_options as csv_options_of
from finetuner.cli.submitting import data_source
from finetuner.cli.text import note, say
from finetuner.cli.values import options_callback

if TYPE_CHECKING:
    from finetuner.aio.client import AsyncClient
    from finetuner.api.types import DatasetInfo

COLUMNS: Final = ("NAME", "KIND", "ROWS", "SIZE", "CREATED")


def complete_datasets(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Give the names that start so; nothing where no server answers at once."""

    async def ask(client: AsyncClient) -> list[CompletionItem]:
        return starting(incomplete, [one.name for one in await client.list_datasets()])

    return ask_for_names(context, ask)


@click.group()
def data() -> None:
    """Upload data sets, list, show and delete them; their names can be given as data."""


@data.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of data sets.")
@click.pass_obj
def list_(settings: Settings, as_json: bool) -> None:
    """List the data sets, newest first.

    Where stdout is no terminal, fields are separated by tabs, sizes are bytes, and times are ISO 8601.
    """
    found = settings.run(lambda client: client.list_datasets())
    from finetuner.cli import render  # noqa: PLC0415 - help and completion load none of it

    if as_json:
        render.print_json(found)
    elif found or not sys.stdout.isatty():
        _print_list(found)
    else:
        note("No data sets yet. `finetuner data upload FILE` makes one, and so does `finetuner fit`.")


def _print_list(found: Sequence[DatasetInfo]) -> None:
    from finetuner.api.convert import to_iso  # noqa: PLC0415 - help and completion load none of it
    from finetuner.api.visible import visible  # noqa: PLC0415
    from finetuner.api.words import ago, size  # noqa: PLC0415

    if not sys.stdout.isatty():
        sys.stdout.write("\t".join(COLUMNS) + "\n")
        for one in found:
            created = "" if one.created_at is None else to_iso(one.created_at)
            sys.stdout.write("\t".join((one.name, one.kind, str(one.rows), str(one.size_bytes), created)) + "\n")
        return
    from rich.table import Table  # noqa: PLC0415 - help and completion load none of it

    from finetuner.cli.console import PlainConsole  # noqa: PLC0415

    now = dt.datetime.now(dt.UTC)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in {"ROWS", "SIZE"} else "left", overflow="fold")
    for one in found:
        created = "" if one.created_at is None else ago(one.created_at, now)
        table.add_row(one.name, visible(one.kind), f"{one.rows:,}", size(one.size_bytes), created)
    PlainConsole().print(table)


@data.command()
@click.argument("source", metavar="FILE", shell_complete=complete_files)
@click.option("--name", metavar="NAME", help="What to call it.  [default: after the file and its content]")
@click.option(
    "--csv-options",
    multiple=True,
    metavar="KEY=VALUE",
    callback=options_callback,
    help="How to read CSV files: size, sampling_rate, dialect, encoding, is_labeled; may be given more than once.",
)
@click.option("--progress/--no-progress", default=None, help="Show a bar.  [default: on a terminal]")
@click.option("--json", "as_json", is_flag=True, help="Print the data set as a JSON object.")
@click.pass_obj
def upload(
    settings: Settings,
    source: str,
    name: str | None,
    csv_options: dict[str, Any] | None,
    progress: bool | None,
    as_json: bool,
) -> None:
    """Check a data set, upload it, and print its name.

    FILE is a CSV file, the zip of a synthesis run, or - for standard input. Content that the server has is not sent
    again, and an upload that was cut goes on where it ended.
    """
    options = csv_options_of(csv_options)
    given = data_source(source)
    made = settings.run(lambda client: client.upload_dataset(given, name, options, progress))
    if as_json:
        from finetuner.cli import render  # noqa: PLC0415 - help and completion load none of it

        render.print_json(made)
    else:
        say(made.name)
        note(_said(made))


def _said(one: DatasetInfo) -> str:
    from finetuner.api.words import count, size  # noqa: PLC0415 - help and completion load none of it

    return f"{count(one.rows, 'row')} of {one.kind} ({', '.join(one.columns)}), {size(one.size_bytes)}"


@data.command()
@click.argument("name", shell_complete=complete_datasets)
@click.option("--json", "as_json", is_flag=True, help="Print the data set as a JSON object.")
@click.pass_obj
def show(settings: Settings, name: str, as_json: bool) -> None:
    """Show one data set: kind, columns, rows, size, sha256."""
    found = settings.run(lambda client: client.get_dataset(name))
    if as_json:
        from finetuner.cli import render  # noqa: PLC0415 - help and completion load none of it

        render.print_json(found)
        return
    say(f"{found.name}  {_said(found)}")
    say(f"  sha256   {found.sha256}")
    if found.created_at is not None:
        say(f"  created  {found.created_at.astimezone():%Y-%m-%d %H:%M:%S}")
    say(f"\nTrain on it: finetuner fit --train-data {found.name} ...")


@data.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_datasets)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print each data set as a JSON object on a line of its own.")
@click.pass_obj
def delete(settings: Settings, names: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Forget data sets; runs that were submitted with one, queued ones too, keep its content until they end."""
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("deleting cannot be undone: say --yes where nobody can be asked")
        from finetuner.api.words import count  # noqa: PLC0415 - help and completion load none of it

        click.confirm(f"Delete {count(len(names), 'data set')} ({', '.join(names)}) for good?", abort=True, err=True)

    async def work(client: AsyncClient) -> None:
        found = {name: await client.get_dataset(name) for name in names}
        for name, one in found.items():
            await client.delete_dataset(name)
            if as_json:
                from finetuner.cli import render  # noqa: PLC0415 - help and completion load none of it

                render.print_json(one, indent=False)
            else:
                note(f"deleted {name}")

    settings.run(work)
