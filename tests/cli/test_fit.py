"""`finetuner fit`, as a real process against a real service."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from functools import partial

import anyio
import attrs
import pytest

from finetuner.cli.exits import ExitCode
from tests.cli.conftest import DEADLINE_S, Shell, settled

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("cli")]

PAIRS = "anchor,positive\na sentence,a name\nanother one,another name\n"


@pytest.fixture
def data(shell: Shell) -> str:
    """Write training data where the commands run, and give its name."""
    (shell.cwd / "pairs.csv").write_text(PAIRS)
    (shell.cwd / "queries.csv").write_text("a query,1\nanother,2\n")
    (shell.cwd / "index.csv").write_text("an answer,1\nanother answer,2\n")
    return "pairs.csv"


async def _fit(shell: Shell, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    options = {} if stdin is None else {"stdin": subprocess.PIPE}

    def run() -> subprocess.CompletedProcess[str]:
        with shell.start("fit", "--model", "all-minilm-l6-v2", *arguments, **options) as process:
            out, err = process.communicate(stdin, timeout=DEADLINE_S)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    return await anyio.to_thread.run_sync(run)


async def test_it_prints_the_runs_name_and_how_to_follow_it(shell: Shell, data: str) -> None:
    ended = await _fit(shell, "--train-data", data)
    assert ended.returncode == 0, ended.stderr
    name = ended.stdout.strip()
    assert re.fullmatch(r"[a-z]+-[a-z]+\n", ended.stdout)
    assert f"finetuner runs logs -f {name}" in ended.stderr
    async with shell.client() as client:
        run = await client.get_run(name)
        await settled(run)
        assert await run.status() == "FINISHED"
        await run.delete()


async def test_every_flag_arrives(shell: Shell, data: str) -> None:
    env = {**shell.env, "MY_KEY": "hidden-value"}
    ended = await _fit(
        attrs.evolve(shell, env=env),
        *("--train-data", data, "--run-name", "flagged", "-e", "second", "--description", "for a test"),
        *("--model-options", "max_seq_length=32", "--loss", "ContrastiveLoss", "--loss-options", "neg_margin=0.5"),
        *("--loss-options", '{"pos_margin": 0.1}', "--optimizer", "AdamW", "--optimizer-options", "betas=[0.8, 0.9]"),
        *("--miner", "MultiSimilarityMiner", "--miner-options", "epsilon=0.2", "--learning-rate", "2e-4"),
        *("--epochs", "2", "--batch-size", "8", "--seed", "7", "--sampler", "class", "--num-items-per-class", "3"),
        *("--device", "cpu", "--num-workers", "1", "--public", "--tag", "one", "--tag", "two", "--secret", "MY_KEY"),
        *("--callback", "EvaluationCallback(query_data=queries.csv, index_data=index.csv, limit=10)"),
        *("--csv-options", "encoding=utf-8", "--idempotency-key", "a-key", "--wait", "--json"),
    )
    assert ended.returncode == 0, ended.stderr
    run = json.loads(ended.stdout)
    assert (run["name"], run["experiment_name"], run["status"]) == ("flagged", "second", "FINISHED")
    assert (run["description"], run["tags"], run["public"]) == ("for a test", ["one", "two"], True)
    config = run["config"]
    hyper = config["hyper_parameters"]
    assert hyper["loss_options"] == {"neg_margin": 0.5, "pos_margin": 0.1}
    assert (hyper["loss"], hyper["optimizer"], hyper["miner"]) == ("ContrastiveLoss", "AdamW", "MultiSimilarityMiner")
    assert (hyper["optimizer_options"], hyper["miner_options"]) == ({"betas": [0.8, 0.9]}, {"epsilon": 0.2})
    assert (hyper["learning_rate"], hyper["epochs"], hyper["batch_size"], hyper["seed"]) == (2e-4, 2, 8, 7)
    assert config["model"]["options"] == {"max_seq_length": 32}
    assert (config["data"]["sampler"], config["data"]["num_items_per_class"]) == ("class", 3)
    [callback] = config["callbacks"]
    assert (callback["name"], callback["options"]["limit"]) == ("EvaluationCallback", 10)
    assert callback["options"]["query_data"].startswith("queries-")
    assert "hidden-value" not in ended.stdout + ended.stderr
    again = await _fit(
        shell, "--train-data", data, "--run-name", "flagged", "-e", "second", "--idempotency-key", "a-key"
    )
    assert (again.returncode, "a-key" in again.stderr) == (ExitCode.ERROR, True)


async def test_data_comes_from_standard_input_too(shell: Shell) -> None:
    ended = await _fit(shell, "--train-data", "-", "--run-name", "piped", "--wait", stdin=PAIRS)
    assert (ended.returncode, ended.stdout) == (0, "piped\n"), ended.stderr
    assert "piped FINISHED" in ended.stderr


async def test_a_synthesis_run_is_data_by_its_name(shell: Shell, data: str) -> None:
    (shell.cwd / "corpus.csv").write_text("a text\na second text\na third\n")
    flags = ("--query-data", "corpus.csv", "--corpus-data", "corpus.csv", "--relation-miner", "all-minilm-l6-v2")
    made = await anyio.to_thread.run_sync(
        lambda: shell("synthesize", *flags, "--run-name", "rows-made", "-e", "third", "--wait", "--json")
    )
    assert made.returncode == 0, made.stderr
    ended = await _fit(shell, "--train-data", "third/rows-made", "--loss", "MarginMSELoss", "--json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["config"]["data"]["train_data"] == json.loads(made.stdout)["artifact_id"]
    near = await _fit(shell, "--train-data", "third/rows-mad", "--loss", "MarginMSELoss")
    assert near.returncode == ExitCode.USAGE
    trained = await _fit(shell, "--train-data", data, "--run-name", "a-model", "--wait")
    assert trained.returncode == 0, trained.stderr
    model = await _fit(shell, "--train-data", "a-model")
    assert (model.returncode, "made a model, no data" in model.stderr) == (ExitCode.USAGE, True), model.stderr
    none = await _fit(shell, "--train-data", "a-modl")
    assert none.returncode == ExitCode.USAGE
    assert re.fullmatch(
        r"Error: a-modl: there is no such file; .*no data set.*no run.*Near: .*'a-model'.*\n", none.stderr
    )


async def test_following_prints_the_log_and_fails_when_the_run_did(shell: Shell, data: str) -> None:
    good = await _fit(shell, "--train-data", data, "--run-name", "followed", "--follow")
    assert (good.returncode, good.stdout) == (0, "this is followed\ndone\n"), good.stderr
    failed = await _fit(shell, "--train-data", data, "--run-name", "fail-followed", "-f")
    said = "this is fail-followed\nit went wrong\nfailed: ExitCode: the job ended with exit code 7\n"
    assert (failed.returncode, failed.stdout) == (ExitCode.RUN_FAILED, said)
    assert "Error: run 'fail-followed' failed" in failed.stderr
    as_json = await _fit(shell, "--train-data", data, "--run-name", "fail-json", "--follow", "--json")
    assert as_json.returncode == ExitCode.RUN_FAILED
    assert json.loads(as_json.stdout)["status"] == "FAILED"
    assert "it went wrong\n" in as_json.stderr


async def test_a_terminal_shows_log_and_bar(shell: Shell, data: str) -> None:
    arguments = ("fit", "--model", "all-minilm-l6-v2", "--train-data", data, "--run-name", "hostile-seen", "-f")
    code, shown = await anyio.to_thread.run_sync(partial(shell.on_terminal, *arguments))
    assert code == 0
    assert "here \\x1b[2J\\x1b]0;owned\\x07\\u202etxt.exe\\x9b31m" in shown
    assert "hostile-seen FINISHED" in shown


async def test_it_gives_up_in_time_and_leaves_the_run(shell: Shell, data: str) -> None:
    late = await _fit(shell, "--train-data", data, "--run-name", "wait-fit", "--wait", "--timeout-s", "0.5")
    assert late.returncode == ExitCode.TIMEOUT, late.stderr
    assert "finetuner runs logs -f wait-fit" in late.stderr
    async with shell.client() as client:
        run = await client.get_run("wait-fit")
        assert run.info.status in {"CREATED", "STARTED"}
        await run.cancel()
        await settled(run)


async def test_ctrl_c_leaves_the_run_and_says_how_to_go_on(shell: Shell, data: str) -> None:
    process = shell.start("fit", "--model", "all-minilm-l6-v2", "--train-data", data, "--run-name", "wait-c", "-f")
    assert process.stdout is not None
    assert await anyio.to_thread.run_sync(process.stdout.readline) == "this is wait-c\n"
    process.send_signal(signal.SIGINT)
    _, said = await anyio.to_thread.run_sync(partial(process.communicate, timeout=DEADLINE_S))
    assert process.returncode == ExitCode.INTERRUPTED
    assert "the run wait-c goes on" in said
    assert "finetuner runs logs -f wait-c" in said
    assert "finetuner runs cancel wait-c" in said
    assert "Traceback" not in said
    async with shell.client() as client:
        run = await client.get_run("wait-c")
        assert run.info.status == "STARTED"
        await run.cancel()
        await settled(run)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--loss", "TripletMarginLos"], "Near: 'TripletMarginLoss'"),
        (["--loss-options", "margn=0.3"], "Near: 'margin'"),
        (["--loss-options", "margin"], "'margin' is not key=value; give key=value, or a JSON object"),
        (["--loss-options", "margin=1", "--loss-options", "margin=2"], "'margin' is given twice"),
        (["--callback", "EvaluationCallbak(query_data=queries.csv)"], "Near: 'EvaluationCallback'"),
        (["--callback", "EvaluationCallback(query_dta=queries.csv)"], "Near: 'query_data'"),
        (["--callback", "EvaluationCallback(query_data=queries.csv, limit=x)"], "limit"),
        (["--callback", "EvaluationCallback(query_data=queries.csv"], "is not Name(key=value, ...)"),
        (["--callback", "EvaluationCallback"], "needs the option 'query_data'"),
        (["--csv-options", "encodng=latin-1"], "Near: 'encoding'"),
        (["--csv-options", "is_labeled=yes"], "must be true or false"),
        (["--csv-options", 'dialect={"delimitr": ";"}'], "Near: 'delimiter'"),
        (["--secret", "NOT_THERE_AT_ALL"], "no such variable"),
        (["--secret", "KEY=value"], "its value stays in the environment"),
        (["--epochs", "0"], "epochs must be at least 1"),
        (["--epochs", "x"], "--epochs"),
        (["--timeout-s", "3"], "--wait or --follow"),
        (["--train-data", "missing.csv"], "missing.csv"),
        (["--run-name", "no spaces"], "'no spaces' cannot be a run name"),
        (["--epoch", "3"], "--epochs"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
async def test_bad_input_is_refused_in_one_line_before_anything_is_created(
    shell: Shell, data: str, arguments: list[str], said: str
) -> None:
    train_data = [] if "--train-data" in arguments else ["--train-data", data]
    command = ("fit", "--model", "all-minilm-l6-v2", *train_data, *arguments)
    ended = await anyio.to_thread.run_sync(lambda: shell.inside(*command))
    assert (ended.returncode, ended.stdout) == (ExitCode.USAGE, ""), ended.stderr
    assert re.fullmatch(r"Error: .*\n", ended.stderr)
    assert said in ended.stderr


async def test_what_is_needed_is_said(shell: Shell) -> None:
    ended = await anyio.to_thread.run_sync(lambda: shell("fit"))
    assert ended.returncode == ExitCode.USAGE
    assert "--model" in ended.stderr
