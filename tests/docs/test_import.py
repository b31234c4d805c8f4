"""`import finetuner` is free: it loads nothing but itself until a name is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

FORBIDDEN = ("typing", "aiohttp", "anyio", "asyncio", "torch", "numpy", "attr", "attrs", "click", "rich", "sqlalchemy")


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(done.stdout.split())


def test_the_import_loads_no_library_and_no_room() -> None:
    before = modules_after("")
    new = modules_after("import finetuner") - before
    assert not [name for name in new if name.split(".")[0] in FORBIDDEN]
    assert not [name for name in new if name.startswith("finetuner.")]


@pytest.mark.parametrize("name", ["fit", "AsyncClient", "Run"])
def test_a_name_loads_the_sdk_and_neither_service_nor_torch(name: str) -> None:
    loaded = modules_after(f"import finetuner; finetuner.{name}")
    assert "finetuner.aio.client" in loaded
    assert not [one for one in loaded if one.startswith(("finetuner.server", "finetuner.job", "torch", "sqlalchemy"))]
