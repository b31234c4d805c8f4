"""`finetuner doctor`: finds what is broken, and changes nothing."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import attrs
import pytest

from finetuner.cli import health_packages
from finetuner.cli.exits import ExitCode
from finetuner.cli.health_packages import Requirement
from tests.cli.conftest import Shell, environment
from tests.docs.blocks import ROOT


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask no torch, which takes seconds, where the test is about something else."""
    monkeypatch.setattr(health_packages, "_ASK_TORCH", 'print(\'{"version": "0", "cuda": null, "gpus": []}\')')


@pytest.fixture
def alone(tmp_path: Path) -> Shell:
    """A shell without a service."""
    env = {**environment(tmp_path), "HF_HUB_OFFLINE": "1"}
    return Shell(env=env, cwd=tmp_path, state=tmp_path / "state")


def _findings(shell: Shell, *arguments: str, code: int = 0) -> dict[str, tuple[str, str]]:
    ended = shell.inside(*arguments, "doctor", "--json")
    assert ended.returncode == code, ended.stdout + ended.stderr
    said = json.loads(ended.stdout)
    assert said["healthy"] == (code == 0)
    return {one["name"]: (one["state"], one["message"]) for one in said["findings"]}


def test_a_good_installation_is_well_and_nothing_is_made(alone: Shell) -> None:
    found = _findings(alone)
    assert {"python", "finetuner", "packages", "local", "torch", "state", "config", "cache", "server", "hub"} <= set(
        found
    )
    assert not [name for name, (state, _) in found.items() if state == "broken"]
    assert found["server"][1].startswith("none runs on this machine")
    assert list(alone.cwd.iterdir()) == []


@pytest.mark.usefixtures("no_torch")
@pytest.mark.xdist_group("cli")
def test_a_server_that_runs_is_asked(shell: Shell) -> None:
    found = _findings(attrs.evolve(shell, env={**shell.env, "HF_HUB_OFFLINE": "1"}))
    assert "runs at http://127.0.0.1:" in found["server"][1]
    assert found["login"][0] == "ok"


@pytest.mark.usefixtures("no_torch")
def test_broken_things_are_told_with_what_to_do(alone: Shell) -> None:
    alone.state.write_text("no folder")
    broken = alone.inside("doctor")
    assert broken.returncode == ExitCode.ERROR
    assert f"broken  state      {alone.state} is a file" in broken.stdout
    assert "FINETUNER_STATE_DIR" in broken.stdout
    alone.state.unlink()
    database = alone.state / "v1/finetuner.db"
    database.parent.mkdir(parents=True)
    database.write_text("this is no database at all")
    (alone.cwd / "config").mkdir()
    (alone.cwd / "config/credentials.json").write_text("{}")
    (alone.cwd / "config/credentials.json").chmod(0o644)
    found = _findings(alone, code=1)
    assert (found["database"][0], found["tokens"][0]) == ("broken", "warning")
    assert database.read_text() == "this is no database at all"


@pytest.mark.usefixtures("no_torch")
def test_a_server_that_is_silent_is_not_waited_for(alone: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        env = {**alone.env, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": url}
        ended = attrs.evolve(alone, env=env).inside("--host", url, "doctor", "--json", "--timeout-s", "0.5")
    found = {one["name"]: one["state"] for one in json.loads(ended.stdout)["findings"]}
    assert (ended.returncode, found["login"], found["hub"]) == (ExitCode.ERROR, "broken", "warning")


def test_versions_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [
        Requirement(name="old", minimum="2.0", extra=None, installed="1.9"),
        Requirement(name="other", minimum="2.0", extra=None, installed="2.1"),
        Requirement(name="absent", minimum="2.0", extra="local", installed=None),
    ]
    pins = {"old": "2.0", "other": "2.2"}
    assert health_packages._versions("packages", wanted[:1], pins).message == "too old: old 1.9 (needs 2.0)"
    other = health_packages._versions("packages", wanted[1:2], pins)
    assert (other.state, "other 2.1 (tested: 2.2)" in other.message) == ("warning", True)
    absent = health_packages._extra("local", "to train", wanted[2:], pins)
    assert (absent.state, absent.hint) == ("warning", 'Needed to train: pip install "finetuner[local]"')
    assert health_packages._base(wanted[2:], pins).state == "broken"


def test_the_tested_versions_are_those_of_the_constraints() -> None:
    tested = health_packages.tested_versions()
    assert f"torch=={tested['torch']}\n" in (ROOT / "constraints.txt").read_text()


def test_a_torch_that_crashes_takes_nobody_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_packages, "_ASK_TORCH", "raise ImportError('no libcudart')")
    found = health_packages._torch()
    assert (found.state, "no libcudart" in found.message) == ("broken", True)
