"""What `import finetuner` costs, beside the bare interpreter's start."""

from __future__ import annotations

import sys

from benchmarks.measure import command, in_turn, show


def main(repeat: int) -> None:
    """Measure whole processes: a bare interpreter, the import, and the first use of a name."""
    works = {
        "bare interpreter": command(sys.executable, "-c", "pass"),
        "import finetuner": command(sys.executable, "-c", "import finetuner"),
        "from finetuner import errors": command(sys.executable, "-c", "from finetuner import errors"),
        "finetuner.fit looked up": command(sys.executable, "-c", "import finetuner; finetuner.fit"),
    }
    show("Import, whole process (ratio to the bare interpreter)", in_turn(works, repeat))
