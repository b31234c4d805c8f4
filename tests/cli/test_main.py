"""The entrance: speed, completion, errors that no command expects."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from finetuner.cli.exits import ExitCode
from finetuner.cli.main import report
from finetuner.errors import RunNotFound, ServerStartFailed
from tests.cli.conftest import Shell, environment

HEAVY = {"aiohttp", "anyio", "rich", "orjson", "sqlalchemy", "torch", "numpy", "finetuner.aio", "finetuner.server.app"}


@pytest.fixture
def alone(tmp_path: Path) -> Shell:
    """A shell without a service."""
    return Shell(env=environment(tmp_path), cwd=tmp_path, state=tmp_path / "state")


@pytest.mark.parametrize(
    "arguments",
    [[*command, "--help"] for command in ([], ["runs"], ["runs", "logs"], ["demo"], ["fit"], ["encode"], ["doctor"])],
)
def test_help_loads_nothing_heavy_and_writes_nothing(alone: Shell, arguments: list[str]) -> None:
    code = (
        "import sys; from finetuner.cli.main import run; assert run(sys.argv[1:]) == 0; "
        "print(*sys.modules, file=sys.stderr)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=alone.cwd,
        env=alone.env,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ended.stdout.startswith("Usage: finetuner")
    assert not HEAVY & set(ended.stderr.split())
    assert list(alone.cwd.iterdir()) == []


def test_no_command_is_a_mistake_that_shows_the_help(alone: Shell) -> None:
    ended = alone()
    assert (ended.returncode, ended.stdout) == (ExitCode.USAGE, "")
    assert "Commands:" in ended.stderr


def test_version(alone: Shell) -> None:
    assert alone("--version").stdout.startswith("finetuner ")


@pytest.mark.parametrize("kind", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(alone: Shell, kind: str) -> None:
    ended = alone("completion", kind)
    assert ended.returncode == 0, ended.stderr
    assert f"_FINETUNER_COMPLETE={kind}_complete" in ended.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash; install one")
def test_the_script_completes_in_a_real_bash(alone: Shell) -> None:
    program = alone.cwd / "finetuner"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m finetuner.cli "$@"\n')
    program.chmod(0o755)
    press_tab = (
        'eval "$(finetuner completion bash)"; COMP_WORDS=(finetuner comp); COMP_CWORD=1; '
        '_finetuner_completion finetuner; echo "${COMPREPLY[@]}"'
    )
    env = {**alone.env, "PATH": f"{alone.cwd}:{alone.env['PATH']}"}
    ended = subprocess.run(
        ["bash", "-c", press_tab], env=env, capture_output=True, text=True, check=True, timeout=60, cwd=alone.cwd
    )
    assert (ended.stdout, ended.stderr) == ("completion\n", "")


def _completed(shell: Shell, words: str, count: int) -> list[str]:
    env = {"_FINETUNER_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(count)}
    ended = Shell(env={**shell.env, **env}, cwd=shell.cwd, state=shell.state)()
    assert ended.stderr == ""
    return [line.split(",", 1)[1] for line in ended.stdout.splitlines() if line]


def test_commands_and_flags_are_completed(alone: Shell) -> None:
    assert _completed(alone, "finetuner ru", 1) == ["runs"]
    assert _completed(alone, "finetuner runs logs --fo", 3) == ["--follow"]


def test_names_of_the_catalog_models_and_files_are_completed(alone: Shell) -> None:
    assert _completed(alone, "finetuner fit --loss tripletm", 3) == ["TripletMarginLoss"]
    assert "margin=" in _completed(alone, "finetuner fit --loss TripletMarginLoss --loss-options ", 5)
    assert _completed(alone, "finetuner fit --optimizer adamw", 3) == ["AdamW"]
    assert _completed(alone, "finetuner fit --callback Eval", 3) == ["EvaluationCallback"]
    assert _completed(alone, "finetuner fit --model all-", 3) == ["all-minilm-l6-v2"]
    assert _completed(alone, "finetuner encode all-", 2) == ["all-minilm-l6-v2"]
    assert _completed(alone, "finetuner fit --train-data pai", 3) == ["pai"]
    assert not alone.state.exists()


@pytest.mark.parametrize("words", ["finetuner fit --loss Tri", "finetuner encode all-", "finetuner fit --model x"])
def test_a_key_press_loads_nothing_heavy(alone: Shell, words: str) -> None:
    code = "import sys, finetuner.cli.main as m\ntry: m.main()\nfinally: print(*sys.modules, file=sys.stderr)"
    env = {
        **alone.env,
        "_FINETUNER_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    ended = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=alone.cwd, capture_output=True, text=True, check=False, timeout=60
    )
    assert not (HEAVY - {"anyio", "orjson"}) & set(ended.stderr.split())


def test_no_server_is_started_for_a_key_press(alone: Shell) -> None:
    assert _completed(alone, "finetuner runs show ", 3) == []
    assert not alone.state.exists()


def test_a_server_that_does_not_answer_completes_nothing(alone: Shell) -> None:
    assert _completed(alone, "finetuner --host http://127.0.0.1:9 runs show ", 5) == []


@pytest.mark.anyio
@pytest.mark.xdist_group("cli")
async def test_run_names_are_completed(shell: Shell) -> None:
    async with shell.client() as client:
        for experiment in (None, "second"):
            run = await shell.submit(client, "completed", experiment_name=experiment)
            await run.wait(timeout_s=60)
    assert _completed(shell, "finetuner runs show comp", 3) == ["completed"]
    assert _completed(shell, "finetuner runs show second/co", 3) == ["second/completed"]


def test_an_unreachable_server_is_one_line(alone: Shell) -> None:
    ended = alone("--host", "http://127.0.0.1:9", "--call-timeout-s", "0.5", "runs", "list")
    assert ended.returncode == ExitCode.ERROR
    assert ended.stderr.startswith("Error: ")
    assert "Traceback" not in ended.stderr


def test_an_empty_token_file_is_refused(alone: Shell) -> None:
    (alone.cwd / "token").touch()
    ended = alone("--host", "http://127.0.0.1:9", "--token-file", "token", "runs", "list")
    assert (ended.returncode, ended.stderr) == (ExitCode.USAGE, "Error: the token file token is empty\n")


def test_an_error_has_no_traceback_unless_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FINETUNER_DEBUG", raising=False)
    assert report(RunNotFound("no run 'x'")) == ExitCode.ERROR
    assert capsys.readouterr().err == "Error: no run 'x'\n"
    monkeypatch.setenv("FINETUNER_DEBUG", "1")
    report(ExceptionGroup("group", [RunNotFound("no run 'x'")]))
    assert capsys.readouterr().err == "finetuner.errors.RunNotFound: no run 'x'\nError: no run 'x'\n"


def test_a_server_that_did_not_start_shows_the_end_of_its_log(capsys: pytest.CaptureFixture[str]) -> None:
    report(ServerStartFailed("it did not start", log=[f"line {number}" for number in range(9)]))
    assert capsys.readouterr().err.splitlines() == ["Error: it did not start", *(f"  line {n}" for n in range(4, 9))]


def test_a_fault_of_ours_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(ZeroDivisionError("division by zero")) == ExitCode.ERROR
    assert "ZeroDivisionError: division by zero" in capsys.readouterr().err


def test_without_a_standard_output_there_is_one_line_and_no_traceback(alone: Shell) -> None:
    command = 'exec "$0" -m finetuner.cli models list >&-'
    ended = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable], env=alone.env, stderr=subprocess.PIPE, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (1, "Error: standard output is closed; nothing can be printed.\n")


def test_a_demo_needs_a_folder_that_it_can_write_to(alone: Shell) -> None:
    empty = alone("demo", "--directory", "")
    assert empty.returncode == ExitCode.USAGE
    assert "--directory': must not be empty" in empty.stderr
    refused = alone("demo", "--directory", "/dev/null/x")
    assert refused.returncode == ExitCode.USAGE
    assert "cannot be written (Not a directory): choose another directory" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
