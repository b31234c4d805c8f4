"""A job of the standard library alone that writes three parts of a log, and waits before each but the first.

`DIR/go-1` and `DIR/go-2` let it go on.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

PART_LINES = 300
PARTS = 3
WORDS = ("loss 0.125", "  indented", "", "snow ☃", "</pre><script>", "tab\tand\x0bmore", 'quote " and \\', "e\u2028sep")


def lines(part: int) -> list[str]:
    numbers = range(part * PART_LINES, (part + 1) * PART_LINES)
    return [f"{number} {WORDS[number % len(WORDS)]}" for number in numbers]


def main() -> None:
    run_dir = Path(sys.argv[1])
    for part in range(PARTS):
        while part and not (run_dir / f"go-{part}").exists():
            time.sleep(0.02)
        print(*lines(part), sep="\n", flush=True)


if __name__ == "__main__":
    main()
