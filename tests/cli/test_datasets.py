"""`finetuner data`, as real processes against a real service."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from finetuner.cli.exits import ExitCode
from tests.cli.conftest import DEADLINE_S, Shell, read_until

pytestmark = pytest.mark.xdist_group("cli")

PAIRS = "query,passage\nwhere is it,over there\nwho is it,nobody\n"


@pytest.fixture
def pairs(shell: Shell) -> Path:
    path = shell.cwd / "pairs.csv"
    path.write_text(PAIRS)
    return path


@contextmanager
def _uploaded(shell: Shell, *names: str) -> Iterator[None]:
    for name in names:
        ended = shell.inside("data", "upload", "pairs.csv", "--name", name)
        assert (ended.returncode, ended.stdout) == (0, f"{name}\n"), ended.stderr
    try:
        yield
    finally:
        for name in names:
            shell.inside("data", "delete", name, "--yes")


def test_a_file_is_uploaded_and_its_name_given_as_data(shell: Shell, pairs: Path) -> None:
    ended = shell("data", "upload", str(pairs))
    assert re.fullmatch(r"pairs-[0-9a-f]{12}\n", ended.stdout), ended.stderr
    assert ended.stderr == "2 rows of pairs (anchor, positive), 129 bytes\n"
    name = ended.stdout.strip()
    with shell.start("data", "upload", "-", "--json", stdin=subprocess.PIPE) as process:
        out, _ = process.communicate(PAIRS, timeout=DEADLINE_S)
    again = json.loads(out)
    assert (again["kind"], again["rows"], again["columns"]) == ("pairs", 2, ["anchor", "positive"])
    plan = shell.inside(
        *("fit", "--model", "all-minilm-l6-v2", "--train-data", name, "--loss", "MultipleNegativesRankingLoss"),
        *("--dry-run", "--json"),
    )
    assert json.loads(plan.stdout)["data"][0]["name"] == name, plan.stderr
    shell.inside("data", "delete", name, again["name"], "--yes")


def test_what_there_is_is_listed_with_tabs_as_a_table_and_as_json(shell: Shell, pairs: Path) -> None:
    with _uploaded(shell, "list-1", "list-2"):
        header, *rows = (line.split("\t") for line in shell("data", "list").stdout.splitlines())
        assert header == ["NAME", "KIND", "ROWS", "SIZE", "CREATED"]
        assert [row[:3] for row in rows][:2] == [["list-2", "pairs", "2"], ["list-1", "pairs", "2"]]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", rows[0][4])
        listed = json.loads(shell.inside("data", "list", "--json").stdout)
        assert [one["name"] for one in listed][:2] == ["list-2", "list-1"]
        code, shown = shell.on_terminal("data", "list")
        assert code == 0
        assert re.search(r"list-2 +pairs +2 +\d+ bytes +(just now|\d+ s ago)", re.sub(r"\x1b\[[0-9;]*m", "", shown))


def test_one_is_shown_and_a_wrong_name_gives_near_ones(shell: Shell, pairs: Path) -> None:
    with _uploaded(shell, "shown-1"):
        shown = shell.inside("data", "show", "shown-1")
        assert shown.stdout.startswith("shown-1  2 rows of pairs (anchor, positive), "), shown.stderr
        sha256 = json.loads(shell.inside("data", "show", "shown-1", "--json").stdout)["sha256"]
        assert sha256 in shown.stdout
        for command in (("show",), ("delete", "--yes")):
            wrong = shell.inside("data", *command, "shwon-1")
            assert (wrong.returncode, wrong.stdout) == (ExitCode.ERROR, "")
            assert "Near: 'shown-1'" in wrong.stderr


def test_what_cannot_be_used_is_not_uploaded(shell: Shell, pairs: Path) -> None:
    before = shell.inside("data", "list", "--json").stdout
    (shell.cwd / "torn.csv").write_text("a,b\nc\n")
    for arguments, words in {
        ("torn.csv",): "torn.csv, line 2: ",
        ("no-such-file.csv",): "no-such-file.csv: ",
        ("pairs.csv", "--name", "a/b"): "cannot be a data set name",
        ("pairs.csv", "--csv-options", "is_labelled=true"): "Near: 'is_labeled'",
    }.items():
        ended = shell.inside("data", "upload", *arguments)
        assert (ended.returncode, ended.stdout) == (ExitCode.USAGE, "")
        assert words in ended.stderr
    with _uploaded(shell, "taken"):
        (shell.cwd / "other.csv").write_text("a,b\n")
        ended = shell.inside("data", "upload", "other.csv", "--name", "taken")
        assert (ended.returncode, "with other content" in ended.stderr) == (ExitCode.ERROR, True)
    assert shell.inside("data", "list", "--json").stdout == before


def test_deleting_asks_first_and_deletes_all_or_none(shell: Shell, pairs: Path) -> None:
    with _uploaded(shell, "gone-1", "gone-2"):
        assert "say --yes" in shell("data", "delete", "gone-1").stderr
        assert shell.inside("data", "delete", "gone-1", "gone-3", "--yes").returncode == ExitCode.ERROR
        with shell.terminal("data", "delete", "gone-1") as (process, keyboard):
            read_until(keyboard, "Delete 1 data set (gone-1) for good?")
            os.write(keyboard, b"n\n")
            assert process.wait(DEADLINE_S) == ExitCode.INTERRUPTED
        assert shell.inside("data", "show", "gone-1").returncode == 0
        ended = shell.inside("data", "delete", "gone-1", "gone-2", "--yes", "--json")
        assert [json.loads(line)["name"] for line in ended.stdout.splitlines()] == ["gone-1", "gone-2"]
        assert shell.inside("data", "show", "gone-1").returncode == ExitCode.ERROR


def test_a_terminal_sees_a_bar_that_reaches_the_end(shell: Shell) -> None:
    buffer = io.StringIO()
    for number in range(100_000):
        buffer.write(f"a question with the number {number},an answer with the number {number}\n")
    (shell.cwd / "large.csv").write_text(buffer.getvalue())
    code, shown = shell.on_terminal("data", "upload", "large.csv", "--name", "large", columns=140)
    assert code == 0, shown
    done = re.findall(r"large.* (\d+\.\d)/(\d+\.\d) MB", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown))
    assert done, shown
    assert done[-1][0] == done[-1][1]
    shell.inside("data", "delete", "large", "--yes")


def test_names_are_completed(shell: Shell, pairs: Path) -> None:
    with _uploaded(shell, "complete-1"):
        words = {"COMP_WORDS": "finetuner data show compl", "COMP_CWORD": "3"}
        env = {**shell.env, **words, "_FINETUNER_COMPLETE": "bash_complete"}
        ended = Shell(env=env, cwd=shell.cwd, state=shell.state)()
        assert ended.stdout == "plain,complete-1\n", ended.stderr
