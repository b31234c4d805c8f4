"""`--json` everywhere: stdout holds JSON and nothing else, for every command that prints."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click
import pytest

from finetuner.cli.main import PROGRAM, cli
from tests.cli.conftest import Shell

pytestmark = pytest.mark.xdist_group("cli")

SILENT = {
    "completion": "prints a script for a shell, which nothing else reads",
    "server run": "prints nothing: its log is a file",
    "top": "shows a terminal what it hears, and a program watches by itself",
}
FIT = ("fit", "--model", "all-minilm-l6-v2", "--train-data", "json.csv", "--run-name", "measured-json", "--wait")
RUN = "measured-json"
LINES = "lines"
EXAMPLES: dict[str, tuple[tuple[str, ...], str | type]] = {
    "server start": (("server", "start"), dict),
    "server status": (("server", "status"), dict),
    "server logs": (("server", "logs", "-n", "3"), LINES),
    "server user add": (("server", "user", "add", "json"), dict),
    "server user list": (("server", "user", "list"), list),
    "server user token": (("server", "user", "token", "json"), dict),
    "server user disable": (("server", "user", "disable", "json"), dict),
    "server user enable": (("server", "user", "enable", "json"), dict),
    "login": (("login",), dict),
    "fit": (FIT, dict),
    "runs list": (("runs", "list", "--task", "training"), list),
    "runs show": (("runs", "show", RUN), dict),
    "runs logs": (("runs", "logs", RUN), LINES),
    "runs wait": (("runs", "wait", RUN), LINES),
    "runs metrics": (("runs", "metrics", RUN), dict),
    "runs examples": (("runs", "examples", RUN), dict),
    "runs download": (("runs", "download", RUN, "--overwrite"), dict),
    "runs open": (("runs", "open", RUN), dict),
    "runs cancel": (("runs", "cancel", RUN), LINES),
    "runs edit": (("runs", "edit", RUN, "--tag", "seen"), dict),
    "runs rerun": (("runs", "rerun", RUN, "--set", "epochs=1", "--dry-run"), dict),
    "runs delete": (("runs", "delete", RUN, "--yes"), LINES),
    "data upload": (("data", "upload", "json.csv", "--name", "json"), dict),
    "data list": (("data", "list"), list),
    "data show": (("data", "show", "json"), dict),
    "data delete": (("data", "delete", "json", "--yes"), LINES),
    "models": (("models",), list),
    "doctor": (("doctor",), dict),
}
ELSEWHERE = {"demo", "encode", "synthesize", "server stop"}
"""Tried by the tests of each: they need a model, or end the service that the others use."""


def _leaves(command: click.Command, name: str = "") -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command)
    for child in command.list_commands(context):
        found = command.get_command(context, child)
        assert found is not None
        yield from _leaves(found, f"{name} {child}".strip())


def test_every_command_that_prints_takes_it() -> None:
    without = {
        name
        for name, command in _leaves(cli, "")
        if not any("--json" in param.opts for param in command.params if isinstance(param, click.Option))
    }
    assert without == set(SILENT)


def test_every_command_that_takes_it_is_tried() -> None:
    assert {name for name, _ in _leaves(cli)} == {*EXAMPLES, *SILENT, *ELSEWHERE}
    assert PROGRAM not in EXAMPLES


def test_stdout_holds_json_alone(shell: Shell) -> None:
    (shell.cwd / "json.csv").write_text("a sentence,a name\nanother one,another name\n")
    for name, (arguments, kind) in EXAMPLES.items():
        ended = shell.inside(*arguments, "--json")
        assert ended.returncode == 0, f"{name}: {ended.stderr}"
        documents = [json.loads(line) for line in ended.stdout.splitlines()] if kind == LINES else []
        if kind == LINES:
            assert documents, name
            assert all(isinstance(one, dict) for one in documents), name
        else:
            assert isinstance(kind, type)
            assert isinstance(json.loads(ended.stdout), kind), name
        assert ended.stdout.endswith("\n"), name
