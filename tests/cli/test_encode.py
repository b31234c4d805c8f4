"""`finetuner encode`, with a tiny model: what it writes is what the model gives, row by row."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from finetuner.cli.exits import ExitCode
from finetuner.cli.vectors import Npy, open_writer
from finetuner.job.worker.onnx_export import export_onnx
from finetuner.model import load_model, open_folder
from tests.cli.conftest import Shell, environment
from tests.models_support import make_tiny_model

TEXTS = ["a dog", "", "rain and wind", "the song", "the soup, with bread", "snow"]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A shell in a folder that has a model and texts."""
    home = tmp_path_factory.mktemp("encode")
    make_tiny_model(home / "model")
    (home / "texts.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    (home / "latin.txt").write_bytes("thé\ncafé\n".encode()[:5] + b"caf\xe9\n")
    (home / "doubt.csv").write_text("a,b;c\nd,e;f\n")
    (home / "table.csv").write_text("id,what\n" + "".join(f'{n},"{text}"\n' for n, text in enumerate(TEXTS)))
    return Shell(env=environment(home), cwd=home, state=home / "state")


@pytest.fixture(scope="module")
def expected(shell: Shell) -> np.ndarray:
    """What the model itself gives for the texts."""
    return load_model(shell.cwd / "model", "cpu").encode(TEXTS)


def test_a_file_becomes_an_array_in_its_order(shell: Shell, expected: np.ndarray) -> None:
    arguments = ("encode", "./model", "texts.txt", "-o", "lines.npy", "--batch-size", "2", "--json")
    ended = shell(*arguments)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {"output": "lines.npy", "rows": len(TEXTS), "dim": 32, "model": "./model"}
    np.testing.assert_allclose(np.load(shell.cwd / "lines.npy"), expected, atol=1e-5)
    again = shell(*arguments)
    assert (again.returncode, again.stdout) == (ExitCode.ERROR, "")
    assert "--overwrite" in again.stderr
    assert not list(shell.cwd.glob(".*.part"))


def test_standard_input_becomes_json_lines(shell: Shell, expected: np.ndarray) -> None:
    with shell.start("encode", "./model", "--column", "what", stdin=subprocess.PIPE) as process:
        out, err = process.communicate((shell.cwd / "table.csv").read_text(), timeout=120)
    assert process.returncode == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["text"] for row in rows] == TEXTS
    np.testing.assert_allclose(np.array([row["vector"] for row in rows]), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["./model", "missing.txt"], ExitCode.USAGE, "missing.txt: it cannot be read"),
        (["./model", "texts.txt", "-o", "x.csv"], ExitCode.USAGE, ".npy or .jsonl"),
        (["./no-model", "texts.txt"], ExitCode.ERROR, "no-model"),
        (["all-minilm", "--column", "1", "--batch-size", "0"], ExitCode.USAGE, "--batch-size"),
        (["resnet-base", "texts.txt"], ExitCode.USAGE, "cannot be trained here"),
        (["./model", "table.csv", "--column", "wat"], ExitCode.USAGE, "Near: 'what'"),
        (["./model", "texts.txt", "--onnx"], ExitCode.ERROR, "holds no model in ONNX"),
        (["all-minilm-l6-v2", "texts.txt", "--onnx"], ExitCode.USAGE, "only a run has its model in ONNX"),
        (["./model", "table.csv", "--column", "0"], ExitCode.USAGE, "there is no column 0"),
        (["./model", "latin.txt"], ExitCode.USAGE, "latin.txt, line 2: it is not utf-8: byte 8 cannot be decoded"),
        (["./model", "latin.txt"], ExitCode.USAGE, "such as --csv-options encoding=latin-1\n"),
        (["./model", "doubt.csv", "--column", "1"], ExitCode.USAGE, '--csv-options \'dialect={"delimiter": ";"}\'\n'),
        (["./model", "table.csv", "--column", "3", "-o", "none.npy"], ExitCode.USAGE, "there is no column 3"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
def test_bad_input_is_one_line(shell: Shell, arguments: list[str], code: int, said: str) -> None:
    ended = shell.inside("encode", *arguments)
    assert (ended.returncode, ended.stdout) == (code, ""), ended.stderr
    assert ended.stderr.startswith("Error: ")
    assert said in ended.stderr
    assert not (shell.cwd / "none.npy").exists()


def test_the_model_in_onnx_is_asked_for_by_a_flag(shell: Shell, expected: np.ndarray) -> None:
    folder = shell.cwd / "exported"
    shutil.copytree(shell.cwd / "model", folder)
    export_onnx(open_folder(folder, "cpu"), folder, TEXTS)
    (folder / "model.safetensors").unlink()
    ended = shell("encode", "./exported", "texts.txt", "--onnx", "-o", "onnx.npy")
    assert ended.returncode == 0, ended.stderr
    np.testing.assert_allclose(np.load(shell.cwd / "onnx.npy"), expected, atol=1e-5)


def test_an_array_of_any_length_reads_back(tmp_path: Path) -> None:
    blocks = [np.full((rows, 3), rows, dtype=np.float32) for rows in (0, 1, 999, 12_345)]
    with open_writer(tmp_path / "made.npy", 3) as writer:
        assert isinstance(writer, Npy)
        for block in blocks:
            writer.write([], block)
    np.testing.assert_array_equal(np.load(tmp_path / "made.npy"), np.concatenate(blocks))


def test_what_fails_half_way_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(AttributeError), open_writer(tmp_path / "half.npy", 3) as writer:
        writer.write([], None)  # type: ignore[arg-type] # what a model must not give
    assert list(tmp_path.iterdir()) == []
