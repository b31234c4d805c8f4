"""`finetuner synthesize`: its flags arrive, and what it cannot do is refused first."""

from __future__ import annotations

import json
import re

import pytest

from finetuner.cli.exits import ExitCode
from tests.cli.conftest import Shell

pytestmark = pytest.mark.xdist_group("cli")


@pytest.fixture
def data(shell: Shell) -> tuple[str, ...]:
    """Write queries and a corpus where the commands run, and give the flags that name them."""
    (shell.cwd / "q.csv").write_text("a query\nanother\n")
    (shell.cwd / "c.csv").write_text("a text\na second text\na third\n")
    return "--query-data", "q.csv", "--corpus-data", "c.csv"


def test_every_flag_arrives(shell: Shell, data: tuple[str, ...]) -> None:
    ended = shell(
        *("synthesize", *data, "--relation-miner", "all-minilm-l6-v2", "--relation-miner", "sbert-base-en"),
        *("--cross-encoder", "org/cross", "--num-relations", "3", "--run-name", "made", "--tag", "one", "--json"),
    )
    assert ended.returncode == 0, ended.stderr
    run = json.loads(ended.stdout)
    assert (run["name"], run["task"], run["tags"]) == ("made", "generation", ["one"])
    assert run["config"]["data"]["num_relations"] == 3
    assert run["config"]["models"] == {
        "relation_miner": ["all-minilm-l6-v2", "sbert-base-en"],
        "cross_encoder": "org/cross",
    }
    ready_made = shell.inside("synthesize", *data, "--models", "synthesis_model_multi", "--json")
    assert json.loads(ready_made.stdout)["config"]["models"]["relation_miner"] == ["distiluse-base-multi"]
    listed = json.loads(shell.inside("runs", "list", "--task", "generation", "--json").stdout)
    assert {"made"} < {one["name"] for one in listed}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "either --models, or --relation-miner"),
        (["--models", "synthesis_model_en", "--relation-miner", "x"], "either --models, or --relation-miner"),
        (["--cross-encoder", "org/cross"], "either --models, or --relation-miner"),
        (["--relation-miner", "all-minilm-l6"], "Near: 'all-minilm-l6-v2'"),
        (["--relation-miner", "all-minilm-l6-v2", "--num-relations", "0"], "num_relations"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
def test_bad_input_is_refused_in_one_line(shell: Shell, data: tuple[str, ...], arguments: list[str], said: str) -> None:
    ended = shell.inside("synthesize", *data, *arguments)
    assert (ended.returncode, ended.stdout) == (ExitCode.USAGE, ""), ended.stderr
    assert re.fullmatch(r"Error: .*\n", ended.stderr)
    assert said in ended.stderr


def test_a_table_with_a_column_too_many_is_named_with_its_line(shell: Shell, data: tuple[str, ...]) -> None:
    (shell.cwd / "bad.csv").write_text("a query,an answer\nanother,two,three\n")
    flags = ("--query-data", "bad.csv", "--corpus-data", "c.csv", "--relation-miner", "all-minilm-l6-v2")
    ended = shell.inside("synthesize", *flags)
    assert (ended.returncode, "bad.csv, line 2" in ended.stderr) == (ExitCode.USAGE, True), ended.stderr
