"""What a key press completes besides runs: names of the catalog, models, options, files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeAlias

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from finetuner.api.catalog import Kind

Completer: TypeAlias = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def starting(incomplete: str, names: Iterable[str]) -> list[CompletionItem]:
    """Give the names that start so, whatever their case."""
    return [CompletionItem(name) for name in names if name.lower().startswith(incomplete.lower())]


def names_of(kind: Kind) -> Completer:
    """Complete the names of a kind in the catalog."""

    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from finetuner.api import catalog  # noqa: PLC0415 - only a key press needs it

        return starting(incomplete, catalog.offered(kind))

    return complete


def options_of(kind: Kind, flag: str) -> Completer:
    """Complete the options, as `name=`, of the entry that another flag names."""

    def complete(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from finetuner.api import catalog  # noqa: PLC0415 - only a key press needs it

        entry = catalog.entries(kind).get(context.params.get(flag) or "")
        return starting(incomplete, (f"{option.name}=" for option in entry.options) if entry else ())

    return complete


def complete_models(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the short names of models, and folders where a path is begun."""
    from finetuner.api.models import model_names  # noqa: PLC0415 - only a key press needs it

    if incomplete.startswith((".", "/", "~")):
        return [CompletionItem(incomplete, type="dir")]
    return starting(incomplete, model_names())


def complete_files(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Leave it to the shell, which knows the files."""
    return [CompletionItem(incomplete, type="file")]


def complete_variables(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete names of the environment's variables."""
    return [CompletionItem(name) for name in sorted(os.environ) if name.startswith(incomplete)]
