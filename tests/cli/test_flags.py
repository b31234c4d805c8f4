"""The flags are the SDK's parameters: by name, by default, and none is missing."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import attrs
import click
import pytest

from finetuner.aio.client import AsyncClient
from finetuner.aio.run import AsyncRun
from finetuner.cli.encode import encode
from finetuner.cli.fit import fit
from finetuner.cli.login import login
from finetuner.cli.models import models
from finetuner.cli.run_log import logs
from finetuner.cli.run_results import download, examples, open_
from finetuner.cli.runs import list_, wait
from finetuner.cli.synthesize import synthesize

ELSEWHERE = {
    "self",
    "host",  # before the command
    "token",  # --token-file: a command line is seen by everyone on the machine
    "max_bytes",  # the command prints as it comes
    "interval",  # unused
}
REPEATED = {"callbacks": "--callback", "tags": "--tag", "secrets": "--secret"}
COMMAND_ONLY = {"as_json", "wait", "follow", "timeout_s"}


@attrs.frozen(kw_only=True)
class Pair:
    """A command, what it calls, and the parameters that it has in another form."""

    command: click.Command
    called: Callable[..., Any]
    other: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()
    """Flags that are the command's alone."""


PAIRS = [
    Pair(command=fit, called=AsyncClient.fit, own=frozenset(COMMAND_ONLY)),
    Pair(
        command=synthesize,
        called=AsyncClient.synthesize,
        other=frozenset({"models"}),  # or its two parts
        own=frozenset({*COMMAND_ONLY, "models", "relation_miner", "cross_encoder"}),
    ),
    Pair(command=open_, called=AsyncClient.console_url, own=frozenset({"as_json", "experiment_name", "browser"})),
    Pair(
        command=list_,
        called=AsyncClient.list_runs,
        # --limit: a page is the old client's word; and no config is printed
        other=frozenset({"page", "size", "with_config"}),
        own=frozenset({"as_json", "limit"}),
    ),
    Pair(command=wait, called=AsyncRun.wait, own=frozenset({"as_json", "names", "experiment_name"})),
    Pair(
        command=logs,
        called=AsyncRun.logs,
        own=frozenset({"as_json", "run", "experiment_name", "follow", "after"}),
    ),
    Pair(command=download, called=AsyncRun.save_artifact, own=frozenset({"as_json", "run", "experiment_name"})),
    Pair(command=examples, called=AsyncRun.display_examples, own=frozenset({"as_json", "run", "experiment_name"})),
    Pair(
        command=login,
        called=AsyncClient.login,
        other=frozenset({"interactive"}),  # a command asks where there is a terminal
        own=frozenset({"as_json"}),
    ),
    Pair(command=models, called=AsyncClient.describe_models, own=frozenset({"as_json"})),
    Pair(
        command=encode,
        called=AsyncClient.get_model,
        other=frozenset({"artifact", "select_model", "logging_level"}),
        own=frozenset({"as_json", "model", "file", "column", "csv_options", "output", "overwrite", "progress"}),
    ),
]


def _default(param: click.Parameter) -> object:
    default = param.to_info_dict().get("default")
    if param.name == "directory":
        return f"{default}/"
    return None if default in ((), []) else default


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.command.name)
def test_each_parameter_has_its_flag_and_each_flag_its_parameter(pair: Pair) -> None:
    parameters = set(inspect.signature(pair.called).parameters) - ELSEWHERE - pair.other
    flags = {param.name for param in pair.command.params} - {"help"}
    assert flags == parameters | pair.own


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.command.name)
def test_flags_have_the_parameters_names_and_defaults(pair: Pair) -> None:
    for name, parameter in inspect.signature(pair.called).parameters.items():
        if name in ELSEWHERE | pair.other or name == "run":
            continue
        param = next(one for one in pair.command.params if one.name == name)
        assert REPEATED.get(name, f"--{name.replace('_', '-')}" if len(name) > 1 else f"-{name}") in param.opts
        if parameter.default is inspect.Parameter.empty:
            assert param.required, name
        else:
            assert _default(param) == parameter.default, name
