"""A job without torch, for the tests of the command line: what it does stands in its run's name."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

HOSTILE = "\x1b[2J\x1b]0;owned\x07\u202etxt.exe\x9b31m"


def main(run_dir: Path) -> int:
    """Print, and then measure, finish, fail, or wait for the file `go`."""
    name = json.loads((run_dir / "spec.json").read_text())["run_name"]
    print(f"this is {name}", flush=True)
    if name.startswith("hostile"):
        print(f"tab\there {HOSTILE}", flush=True)
    if name.startswith("long"):
        for number in range(200_000):
            print(f"line {number}")
        sys.stdout.flush()
    if name.startswith("measured"):
        _measure()
    if name.startswith("wait"):
        while not (run_dir / "go").exists():
            time.sleep(0.02)
    if name.startswith("fail"):
        print("it went wrong", flush=True)
        return 7
    (run_dir / "artifact.zip.part").write_bytes(b"an artifact")
    print("done", flush=True)
    return 0


def _measure() -> None:
    with os.fdopen(int(os.environ["FINETUNER_EVENTS_FD"]), "w") as events:
        for stage, value in (("before", 0.25), ("after", 0.5)):
            results = [
                {"text": f"{stage} answer {place}", "score": value, "relevant": place == 0} for place in range(3)
            ]
            examples = [{"query": {"text": f"a query {HOSTILE}"}, "results": results}]
            metrics = {"kind": "metrics", "stage": stage, "values": {"recall_at_1": value}}
            for event in (metrics, {"kind": "examples", "stage": stage, "values": examples}):
                events.write(json.dumps({**event, "t": time.time()}) + "\n")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
