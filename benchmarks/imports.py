"""What `import finetuner` costs, beside the bare interpreter's start and the old client's import."""

from __future__ import annotations

import sys

from benchmarks import peers
from benchmarks.measure import Goal, Options, Table, command, in_turn, over

BARE, OURS, OLD = "bare interpreter", "import finetuner", "import of the old client"


def measure(options: Options) -> list[Table]:
    """Measure whole processes: a bare interpreter, the import, the first use of a name, and the old client."""
    works = {
        BARE: command(sys.executable, "-c", "pass"),
        OURS: command(sys.executable, "-c", "import finetuner"),
        "from finetuner import errors": command(sys.executable, "-c", "from finetuner import errors"),
        "finetuner.fit looked up": command(sys.executable, "-c", "import finetuner; finetuner.fit"),
    }
    if (python := peers.python_of(peers.OLD, options.venvs)) is not None:
        # -I: not from the folder that this runs in, which has a package of the same name.
        works[OLD] = command(str(python), "-I", "-W", "ignore", "-c", "import finetuner")
    rows = {row.name: row for row in in_turn(works, options.repeat)}
    goals = [Goal(what="import finetuner over a bare start", value=over(rows[OURS], rows[BARE]), limit=1.5)]
    if OLD in rows:
        goals.append(Goal(what="import finetuner over the old client's", value=over(rows[OURS], rows[OLD]), limit=0.1))
    return [Table(title="Import, whole process", rows=list(rows.values()), goals=goals)]
