"""`finetuner models`: the table, and what is on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

from finetuner.api.models import MODELS
from tests.cli.conftest import Shell, environment


@pytest.fixture
def alone(tmp_path: Path) -> Shell:
    """A shell whose hub cache is a folder of its own."""
    env = {**environment(tmp_path), "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    env.pop("HF_HUB_CACHE", None)
    return Shell(env=env, cwd=tmp_path, state=tmp_path / "state")


def test_the_table_has_every_model_and_says_which_are_here(alone: Shell) -> None:
    snapshot = alone.cwd / "hub/hub/models--google-bert--bert-base-cased"
    (snapshot / "snapshots/abc").mkdir(parents=True)
    (snapshot / "refs").mkdir()
    (snapshot / "refs/main").write_text("abc")
    (snapshot / "snapshots/abc/config.json").write_text("{}")
    said = json.loads(alone("models", "--json").stdout)
    assert [one["name"] for one in said] == [model.name for model in MODELS]
    here = {one["name"]: one["here"] for one in said}
    assert (here["all-minilm-l6-v2"], here["bert-base-en"], here["bert-base-multi"]) == ("package", "cache", None)
    lines = alone("models", "--task", "mesh-to-mesh").stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["NAME", "pointnet-base"]
    assert not alone.state.exists()


def test_a_terminal_gets_a_table(alone: Shell) -> None:
    code, shown = attrs.evolve(alone).on_terminal("models", columns=140)
    assert (code, "all-minilm-l6-v2" in shown, "resnet-large" in shown) == (0, True, True)
