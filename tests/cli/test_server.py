"""`finetuner server` as real processes, on a state folder of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.cli.conftest import Shell, environment


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    made = Shell(
        env=environment(tmp_path, job=Path(__file__).parent / "job.py"), cwd=tmp_path, state=tmp_path / "state"
    )
    yield made
    made.stop_server()


def test_the_servers_life_from_the_command_line(shell: Shell) -> None:
    silent = shell("server", "status")
    assert (silent.returncode, silent.stdout) == (1, f"No server runs. Its state: {shell.state}\n")
    assert shell("server", "stop").stderr == "No server runs.\n"
    started = shell("server", "start")
    assert started.returncode == 0, started.stderr
    said = json.loads(shell("server", "status", "--json").stdout)
    assert (said["running"], said["url"], said["embedded"]) == (True, started.stdout.strip(), True)
    assert shell("server", "start").stdout == started.stdout
    second = shell("server", "run", "--port", "0")
    assert second.returncode == 1
    assert "another server runs on" in second.stderr
    stopped = shell("server", "stop", "--json")
    assert (stopped.returncode, json.loads(stopped.stdout)) == (0, {"stopped": True})
    assert shell("server", "status").returncode == 1
    last = json.loads(shell("server", "logs", "-n", "1").stdout)
    assert last["event"] == "server stopped"


def test_users_are_added_listed_and_disabled_without_a_server(shell: Shell) -> None:
    added = shell("server", "user", "add", "anna")
    assert (added.returncode, len(added.stdout.strip())) == (0, 43)
    assert added.stdout.strip() not in added.stderr
    again = shell("server", "user", "add", "anna")
    assert (again.returncode, again.stdout) == (1, "")
    assert shell("server", "user", "add", "an/na").returncode == 2
    assert shell("server", "user", "disable", "berta").returncode == 2
    assert shell("server", "user", "disable", "anna").returncode == 0
    assert "anna\tuser\tdisabled\n" in shell("server", "user", "list").stdout
    assert shell("server", "user", "enable", "anna").returncode == 0
    assert "anna\tuser\tenabled\n" in shell("server", "user", "list").stdout
    assert shell("server", "user", "token", "berta").returncode == 2
    assert len(shell("server", "user", "token", "anna").stdout.strip()) > 40


def test_a_folder_that_is_a_file_is_refused(shell: Shell) -> None:
    shell.state.write_text("no folder")
    for command in (["start"], ["user", "list"]):
        refused = shell("server", *command)
        assert refused.returncode == 1
        assert refused.stderr.startswith("Error: ")
        assert "Traceback" not in refused.stderr
    other = attrs.evolve(shell, state=shell.cwd / "other")
    refused = other("server", "user", "list", "--state-dir", str(other.state))
    assert (refused.returncode, other.state.exists()) == (2, False)
    assert "is no server's folder" in refused.stderr
    assert other("server", "user", "add", "anna", "--state-dir", str(other.state)).returncode == 0
    assert other("server", "user", "list", "--state-dir", str(other.state)).returncode == 0
    shell.state.unlink()


@pytest.mark.parametrize("name", ["FINETUNER_STALL_MINUTES", "FINETUNER_WARM_MINUTES"])
def test_a_setting_that_is_refused_is_one_clear_line(shell: Shell, name: str) -> None:
    wrong = attrs.evolve(shell, env={**shell.env, name: "abc"})
    for arguments in (("server", "start"), ("runs", "list"), ("server", "run", "--port", "0")):
        refused = wrong(*arguments)
        assert refused.returncode == (2 if arguments[1] == "run" else 1)
        (line,) = refused.stderr.splitlines()
        assert name in line
        assert "must be a number of minutes" in line
        assert "'abc'" in line
