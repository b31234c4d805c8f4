"""A job without torch, for the tests of the command line: what it does stands in its run's name."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

HOSTILE = "\x1b[2J\x1b]0;owned\x07\u202etxt.exe\x9b31m"


def main(run_dir: Path) -> int:
    """Print, and then finish, fail, or wait for the file `go`."""
    name = json.loads((run_dir / "spec.json").read_text())["run_name"]
    print(f"this is {name}", flush=True)
    if name.startswith("hostile"):
        print(f"tab\there {HOSTILE}", flush=True)
    if name.startswith("long"):
        for number in range(200_000):
            print(f"line {number}")
        sys.stdout.flush()
    if name.startswith("wait"):
        while not (run_dir / "go").exists():
            time.sleep(0.02)
    if name.startswith("fail"):
        print("it went wrong", flush=True)
        return 7
    (run_dir / "artifact.zip.part").write_bytes(b"an artifact")
    print("done", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
