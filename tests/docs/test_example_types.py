"""Every example, of the pages and of both faces, is what mypy --strict and pyright take as it stands."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.docs.blocks import ROOT, blocks, pages

HEAD: Final = """
import webbrowser
import finetuner
from finetuner import {prefix}Client, {prefix}Experiment, {prefix}Run, EmbeddingModel
from finetuner.api.selecting import RunFilter
from finetuner.model import SynthesisModels, synthesis_model_en
"""
GIVEN: Final = (
    "client: {prefix}Client, run: {prefix}Run, runs: list[{prefix}Run], experiment: {prefix}Experiment, "
    "tuned: EmbeddingModel, saved_offset: int"
)
"""The names that a docstring's example takes for granted."""
FACES: Final = {"aio": "Async", "sync": ""}
_EXAMPLE: Final = re.compile(r"^Example:\n((?:    .*\n?|\n)+)", re.MULTILINE)


def _examples(face: str) -> Iterator[str]:
    """Give the examples of a face, each as a function."""
    prefix = FACES[face]
    given, number = GIVEN.format(prefix=prefix), 0
    for path in sorted((ROOT / "finetuner" / face).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if found := _EXAMPLE.search(ast.get_docstring(node) or ""):
                number += 1
                body = textwrap.indent(textwrap.dedent(found[1]), "    ").rstrip()
                head = f"{'async ' if prefix else ''}def example_{number}_{node.name}({given}) -> None:"
                yield f"{head}  # {path.name}:{node.lineno}\n{body}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write all examples as modules: one of each face's docstrings, one of each page's script, and each file."""
    folder = tmp_path_factory.mktemp("examples")
    for face, prefix in FACES.items():
        written = [HEAD.format(prefix=prefix), *_examples(face)]
        (folder / f"docstrings_of_{face}.py").write_text("\n\n".join(written), encoding="utf-8")
    for path in (ROOT / "docs/examples").glob("*.py"):
        shutil.copy(path, folder)
    for page in pages():
        manual: list[str] = []
        for block in blocks(page):
            if block.language != "python":
                continue
            name = f"{page.stem.lower()}_{block.line}.py"
            if block.note.startswith("file: "):
                name = block.note.removeprefix("file: ")
            elif block.note.startswith("manual: "):
                manual.append(block.code)
                continue
            (folder / name).write_text(block.code, encoding="utf-8")
        if manual:
            (folder / f"{page.stem}.py").write_text("\n".join(manual), encoding="utf-8")
    return folder


def test_both_faces_have_examples_alike() -> None:
    counts = [sum(1 for _ in _examples(face)) for face in FACES]
    assert counts[0] >= 40
    assert counts[1] >= counts[0]  # the functions have them once more


@pytest.mark.parametrize(
    "checker",
    [["mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml")], ["pyright", "--level", "error"]],
    ids=lambda command: command[0],
)
def test_a_type_checker_takes_every_example_as_it_stands(checker: list[str], folder: Path) -> None:
    tools = Path(sys.executable).parent
    done = subprocess.run(
        [tools / checker[0], *checker[1:], *sorted(folder.glob("*.py"))],
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(ROOT), "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}{done.stderr[-2000:]}"
