"""Every Python block of README, CONTRIBUTING and docs runs as it stands, each as a script of its own.

What a page notes as `file: NAME` lies beside each of the page's scripts.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, Block, blocks, pages

PYTHON = [block for page in pages() for block in blocks(page) if block.language == "python"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Give an environment whose state, config and cache are this module's own; stop its server at the end."""
    folder = tmp_path_factory.mktemp("home")
    env = dict(os.environ)
    for name in ("STATE", "CONFIG", "CACHE"):
        env[f"FINETUNER_{name}_DIR"] = str(folder / name.lower())
    env["OMP_NUM_THREADS"] = "2"
    yield env
    subprocess.run(
        [sys.executable, "-m", "finetuner", "server", "stop"], env=env, check=False, timeout=60, capture_output=True
    )


@pytest.mark.train
@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.id)
def test_python_block_runs(block: Block, home: dict[str, str], tmp_path: Path) -> None:
    for other in blocks(ROOT / block.page):
        if other.note.startswith("file: "):
            (tmp_path / other.note.removeprefix("file: ")).write_text(other.code, encoding="utf-8")
    script = tmp_path / "script.py"
    script.write_text(block.code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", str(script)],
        cwd=tmp_path,
        env=home,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, f"{block.id} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert "Traceback" not in done.stderr


def test_there_are_blocks_to_run() -> None:
    assert sum(block.page == "README.md" for block in PYTHON) >= 2
