"""A command group that loads a command when it is called: help and completion stay fast."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import attrs
import click


@attrs.frozen(kw_only=True)
class LazyCommand:
    """A command that is not loaded yet."""

    where: str
    """Its place, as `module:attribute`."""
    short_help: str
    """The line that the group's help shows for it; the command's own help starts with the same."""

    def load(self) -> click.Command:
        """Import it."""
        module, _, attribute = self.where.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


class LazyGroup(click.Group):
    """A group whose commands are named in a table."""

    def __init__(self, *args: Any, lazy: Mapping[str, LazyCommand], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click calls it so
        """Give the names in the table's order: the ones met first come first."""
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click calls it so
        """Load one command."""
        return self.lazy[cmd_name].load() if cmd_name in self.lazy else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name.

        Raises:
            click.UsageError: There is none; near names are given.
        """
        if args and args[0] not in self.lazy and not args[0].startswith("-"):
            from finetuner.api.names import near_hint  # noqa: PLC0415 - only a mistake needs it

            raise click.UsageError(f"there is no command {args[0]!r}.{near_hint(args[0], self.lazy)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands without loading one."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.short_help) for name, command in self.lazy.items()])
