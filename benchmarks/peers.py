"""The peers: each in a virtual environment of its own, made when it is first needed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import platformdirs

OLD: Final = "old-client"
OPENAI: Final = "openai"
MLFLOW: Final = "mlflow"
INSTALLS: Final[Mapping[str, Sequence[Sequence[str]]]] = {
    # The old client pins what no longer installs; what it imports does.
    OLD: (
        ("--no-deps", "finetuner==0.8.1", "finetuner-stubs==0.13.10", "docarray==0.21.1"),
        ("pydantic<2", "jina-hubble-sdk", "numpy", "rich", "requests", "setuptools<80"),
    ),
    OPENAI: (("openai==3.54.0",),),
    MLFLOW: (("mlflow==3.17.2",),),
}
_DONE: Final = "installed"


def default_folder() -> Path:
    """Give where environments are kept between runs of the benchmarks."""
    return platformdirs.user_cache_path("finetuner-benchmarks", appauthor=False)


def python_of(name: str, venvs: Path | None) -> Path | None:
    """Give the interpreter of a peer, installed first where it is not yet; None where peers are left out.

    Raises:
        CalledProcessError: It cannot be installed; pip says above why.
    """
    if venvs is None:
        return None
    folder = venvs / name
    python = folder / "bin" / "python"
    if not (folder / _DONE).exists():
        shutil.rmtree(folder, ignore_errors=True)
        print(f"installing the peer {name} into {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        for arguments in INSTALLS[name]:
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *arguments], check=True)
        (folder / _DONE).touch()
    return python
