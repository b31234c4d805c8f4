"""A job of the standard library alone that does what its data says: a JSON object in the first cell.

`lines`: how many to write; `seed`: their content; `pause_every`, `pause_s`: rest so often, so long; `start`: a file to
wait for before the first line, `gate`: one before the end; `events`: objects to send; `event_pause_s`: rest after each;
`artifact_bytes`: size of the one file in the artifact; `rows`: rows of query, positive, negative and margin, left as a
synthesis run does; `exit`: exit code; `variables`: environment variables, to say whether they are set.
"""

from __future__ import annotations

import hashlib
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
    named = spec["config"]["data"]
    source = Path(spec["data"][named.get("train_data") or named["query_data"]])
    if zipfile.is_zipfile(source):  # what a synthesis run left
        print("trains on", source.name)
        return 0
    row = json.loads(source.read_text(encoding="utf-8").split("\n")[1])
    wish = json.loads(row[0])
    draw = random.Random(wish.get("seed", 0))  # noqa: S311 - a test's text
    while "start" in wish and not Path(wish["start"]).exists():
        time.sleep(0.02)
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
        time.sleep(wish.get("event_pause_s", 0.0))
    while "gate" in wish and not Path(wish["gate"]).exists():
        time.sleep(0.02)
    if size := wish.get("artifact_bytes", 0):
        with zipfile.ZipFile(run_dir / "artifact.zip.part", "w") as artifact:
            artifact.writestr("model.bin", random.Random(size).randbytes(size))  # noqa: S311 - a test's bytes
    if "rows" in wish:
        leave_rows(run_dir, wish["rows"])
    return int(wish.get("exit", 0))


def leave_rows(run_dir: Path, rows: list[list[str]]) -> None:
    header = {"format": "finetuner-data/1", "kind": "margins", "columns": ["query", "positive", "negative", "margin"]}
    lines = [json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n" for line in (header, *rows)]
    content = "".join(lines).encode()
    files = {"train.jsonl": {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}}
    with zipfile.ZipFile(run_dir / "artifact.zip.part", "w") as artifact:
        artifact.writestr("manifest.json", json.dumps({"format": "finetuner-training-data/1", "files": files}))
        artifact.writestr("train.jsonl", content)


if __name__ == "__main__":
    sys.exit(main())
