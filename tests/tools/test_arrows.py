"""The linter holds the arrows between the rooms: an import that points up, or loads torch, fails it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--config", tree / "pyproject.toml", "--no-cache"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "finetuner", tmp_path / "finetuner", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_tree_as_it_stands_is_kept(tree: Path) -> None:
    done = lint(tree)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("finetuner/api/names.py", "import finetuner.data"),
        ("finetuner/api/names.py", "import time"),
        ("finetuner/aio/client.py", "import finetuner.sync"),
        ("finetuner/aio/client.py", "import finetuner.server.app"),
        ("finetuner/local.py", "import finetuner.server.settings"),
        ("finetuner/server/app.py", "import finetuner.job.supervisor"),
        ("finetuner/data/kinds.py", "import torch"),
        ("finetuner/cli/main.py", "import sentence_transformers"),
    ],
)
def test_a_planted_import_fails(tree: Path, module: str, line: str) -> None:
    with (tree / module).open("a", encoding="utf-8") as source:
        source.write(f"\n{line}  # noqa\n")
    done = lint(tree)
    assert done.returncode == 1, f"{module}: {line} was let through\n{done.stdout}"
    assert "BROKEN" in done.stdout
