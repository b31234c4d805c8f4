"""Every public symbol has a type that each type checker infers alike."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_the_public_types_are_complete() -> None:
    tools = Path(sys.executable).parent
    done = subprocess.run(
        [tools / "pyright", "--verifytypes", "finetuner", "--ignoreexternal"],
        env={**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert "Type completeness score: 100%" in done.stdout, done.stdout[-4000:]
    assert done.returncode == 0
