"""`finetuner login` against a server for a team, with the token that its command line made."""

from __future__ import annotations

import json
import os
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from finetuner.cli.exits import ExitCode
from tests.cli.conftest import DEADLINE_S, Shell, environment, read_until


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Shell]]:
    """The URL of a server for a team, and a shell on its machine."""
    home = tmp_path_factory.mktemp("team")
    shell = Shell(env=environment(home, job=Path(__file__).parent / "job.py"), cwd=home, state=home / "state")
    process = shell.start("server", "run", "--port", "0")
    said = shell.state / "v1/server.json"
    deadline = time.monotonic() + DEADLINE_S
    while not said.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()
    yield json.loads(said.read_text())["url"], shell
    process.terminate()
    process.communicate(timeout=DEADLINE_S)


@pytest.fixture
def user(tmp_path: Path) -> Shell:
    """A shell on a user's machine, where nobody has logged in."""
    return Shell(env=environment(tmp_path), cwd=tmp_path, state=tmp_path / "state")


def test_a_token_is_checked_kept_and_used(team: tuple[str, Shell], user: Shell) -> None:
    url, server = team
    token = server("server", "user", "add", "ada").stdout.strip()
    stranger = user("--host", url, "runs", "list")
    assert stranger.returncode == ExitCode.ERROR
    assert f"`finetuner --host {url} login --force` asks for a token" in stranger.stderr
    assert "finetuner.login(" not in stranger.stderr
    (user.cwd / "token").write_text(f"{token}\n")
    logged_in = user("--host", url, "--token-file", "token", "login")
    assert (logged_in.returncode, logged_in.stdout) == (0, ""), logged_in.stderr
    assert logged_in.stderr == f"Logged in to {url}.\n"
    assert user("--host", url, "runs", "list", "--json").stdout == "[]\n"
    kept = user.cwd / "config/credentials.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_a_wrong_token_is_refused_and_not_kept(team: tuple[str, Shell], user: Shell) -> None:
    url, _ = team
    (user.cwd / "token").write_text("wrong")
    refused = user("--host", url, "--token-file", "token", "login")
    assert refused.returncode == ExitCode.ERROR
    assert refused.stderr.startswith("Error: ")
    assert "wrong" not in refused.stderr.replace("wrong token", "")
    assert not (user.cwd / "config/credentials.json").exists()


def test_where_nobody_can_be_asked_login_says_what_to_do(team: tuple[str, Shell], user: Shell) -> None:
    refused = user("--host", team[0], "login")
    assert refused.returncode == ExitCode.ERROR
    assert "token" in refused.stderr


def test_a_person_is_asked_and_the_token_is_not_shown(team: tuple[str, Shell], user: Shell) -> None:
    url, server = team
    token = server("server", "user", "add", "grace").stdout.strip()
    with user.terminal("--host", url, "login") as (process, keyboard):
        read_until(keyboard, f"Token for {url}: ")
        os.write(keyboard, f"{token}\n".encode())
        shown = read_until(keyboard, f"Logged in to {url}.")
        assert process.wait(DEADLINE_S) == 0
    assert token not in shown


def test_ctrl_c_at_the_question_ends_at_once(team: tuple[str, Shell], user: Shell) -> None:
    with user.terminal("--host", team[0], "login", "--force") as (process, keyboard):
        read_until(keyboard, "Token for ")
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == ExitCode.INTERRUPTED


@pytest.mark.parametrize("content", [b"one\ntwo\n", b"\xff\xfe\x00"])
def test_a_file_that_holds_no_token_is_told_apart_from_a_fault(user: Shell, content: bytes) -> None:
    (user.cwd / "token").write_bytes(content)
    refused = user("--host", "http://127.0.0.1:1", "--token-file", "token", "runs", "list")
    assert refused.returncode == ExitCode.USAGE
    assert refused.stderr.startswith("Error: what the token file token holds is no token")


def test_this_machines_own_server_needs_no_token(user: Shell) -> None:
    (user.cwd / "token").write_text("some")
    refused = user("--token-file", "token", "login")
    assert refused.returncode == ExitCode.USAGE
    assert "needs no token" in refused.stderr
    assert not user.state.exists()
