"""docs/cli.md names every command, flag and exit code, and nothing that is not there."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from finetuner.cli.exits import ExitCode
from finetuner.cli.lazy import LazyGroup
from finetuner.cli.main import PROGRAM, cli
from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs/cli.md").read_text(encoding="utf-8")


def _commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            yield from _commands(found, f"{name} {child}")


COMMANDS = dict(_commands(cli, PROGRAM))


def _usage(name: str, command: click.Command) -> str:
    words = [
        param.make_metavar(click.Context(command)) for param in command.params if param.param_type_name == "argument"
    ]
    return " ".join([name, *(re.sub(r"^\{.*\}$", "SHELL", word).replace("......", "...") for word in words)])


def _flags(command: click.Command) -> set[str]:
    flags = {flag for param in command.params if isinstance(param, click.Option) for flag in param.opts}
    return flags | {flag for param in command.params for flag in param.secondary_opts}


def _sections() -> dict[str, str]:
    """Give the text under each heading that is a command; the options before the command count as the program's own."""
    text = PAGE.replace("## Options before the command", f"## `{PROGRAM}`", 1)
    parts = re.split(r"^#{2,4} (.+)$", text, flags=re.MULTILINE)[1:]
    headings = zip(parts[::2], parts[1::2], strict=True)
    return {heading.strip("`"): body for heading, body in headings if heading.startswith("`")}


def test_every_command_has_a_heading_and_every_heading_a_command() -> None:
    assert set(_sections()) == {_usage(name, command) for name, command in COMMANDS.items()}


def test_every_flag_stands_in_its_commands_table_and_no_other() -> None:
    sections = _sections()
    for name, command in COMMANDS.items():
        first_cells = re.findall(r"^\| (`-[^|]*) \|", sections[_usage(name, command)], re.MULTILINE)
        documented = {flag for cell in first_cells for flag in re.findall(r"(?<![\w-])--?[a-z][\w-]*", cell)}
        assert documented - {"--help"} == _flags(command) - {"--help", "-h"}, name


def test_every_exit_code_is_told() -> None:
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    assert told == {code.value for code in ExitCode}


def test_the_short_help_in_the_table_is_what_each_command_says() -> None:
    assert isinstance(cli, LazyGroup)
    for name, lazy in cli.lazy.items():
        command = lazy.load()
        assert (name, lazy.short_help) == (command.name, command.get_short_help_str(limit=100))


def test_every_command_and_flag_has_help() -> None:
    for name, command in COMMANDS.items():
        assert command.help, name
        for param in command.params:
            assert not isinstance(param, click.Option) or param.help, f"{name} {param.name}"
