"""What `import finetuner` offers, and what it does not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import finetuner
from tests.docs.blocks import ROOT

STUB = ROOT / "finetuner" / "__init__.pyi"


def test_the_import_loads_no_library() -> None:
    code = (
        "import sys; before = set(sys.modules); import finetuner; dir(finetuner); "
        "print(sorted(m for m in set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {name.split(".")[0] for name in ast.literal_eval(done.stdout)}
    assert not loaded & {"aiohttp", "attrs", "attr", "cattrs", "anyio", "numpy", "torch", "rich", "asyncio", "click"}
    assert "finetuner.server" not in done.stdout


def test_every_public_name_is_there_listed_and_in_the_stub() -> None:
    stub = {
        alias.asname or alias.name
        for node in ast.parse(STUB.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert stub == set(vars(finetuner)["_IMPORTABLE"])
    assert stub <= set(dir(finetuner))
    for name in stub:
        assert getattr(finetuner, name) is not None
    assert finetuner.__version__


def test_sync_names_are_all_offered() -> None:
    assert set(finetuner.sync.__all__) <= set(dir(finetuner))
    assert finetuner.Run is finetuner.run.Run
    assert finetuner.Experiment is finetuner.experiment.Experiment


def test_a_wrong_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="fitt"):
        getattr(finetuner, "fitt")  # noqa: B009 - the name is wrong on purpose


def test_the_stub_ships() -> None:
    assert Path(finetuner.__file__).with_name("py.typed").exists()
    assert STUB.exists()
