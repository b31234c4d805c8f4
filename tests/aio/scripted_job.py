"""A job of the standard library alone that does what its training data says: a JSON object in the first cell.

`lines`: how many to write; `seed`: their content; `pause_every`, `pause_s`: rest so often, so long; `gate`: a file
to wait for before the end; `events`: objects to send; `artifact_bytes`: size of the one file in the artifact;
`exit`: exit code; `variables`: environment variables, to say whether they are set.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
import zipfile
from pathlib import Path

WORDS = ("alpha", "βήτα", "日本語", "", "  indented", "a\x0bvertical\x0ctab", "snow ☃", "emoji 🎉", "e\u2028sep")


def main() -> int:
    run_dir = Path(sys.argv[1])
    spec = json.loads((run_dir / "spec.json").read_text(encoding="utf-8"))
    source = Path(spec["data"][spec["config"]["data"]["train_data"]])
    row = json.loads(source.read_text(encoding="utf-8").split("\n")[1])
    wish = json.loads(row[0])
    draw = random.Random(wish.get("seed", 0))  # noqa: S311 - a test's text
    for number in range(wish.get("lines", 0)):
        words = [draw.choice(WORDS) for _ in range(draw.randrange(8))]
        sys.stdout.write(f"{number} {' '.join(words)}\n")
        if number % wish.get("pause_every", 1_000_000_000) == 0:
            sys.stdout.flush()
            time.sleep(wish.get("pause_s", 0.0))
    for name in wish.get("variables", []):
        sys.stdout.write(f"{name} is {'set' if name in os.environ else 'not set'}\n")
    sys.stdout.flush()
    events = os.fdopen(int(os.environ["FINETUNER_EVENTS_FD"]), "w", encoding="utf-8")
    for event in wish.get("events", []):
        events.write(json.dumps({"t": time.time(), **event}) + "\n")
    events.flush()
    while "gate" in wish and not Path(wish["gate"]).exists():
        time.sleep(0.02)
    if size := wish.get("artifact_bytes", 0):
        with zipfile.ZipFile(run_dir / "artifact.zip.part", "w") as artifact:
            artifact.writestr("model.bin", random.Random(size).randbytes(size))  # noqa: S311 - a test's bytes
    return int(wish.get("exit", 0))


if __name__ == "__main__":
    sys.exit(main())
