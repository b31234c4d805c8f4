"""A contestant's side of a measurement: does its work each time that it is told to. Standard library only."""

from __future__ import annotations

import cProfile
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def take_turns(work: Callable[[], dict[str, Any]]) -> None:
    """Do the work for each line of stdin; tell what it gave, with its seconds and this process' memory, as JSON.

    What the work says of `seconds` itself wins. With a file named in `BENCHMARK_PROFILE`, all turns but the first are
    profiled into it.
    """
    tell({"ready": True, **memory()})
    target, profile, turns = os.environ.get("BENCHMARK_PROFILE"), cProfile.Profile(), 0
    for _ in sys.stdin:
        if target and turns:
            profile.enable()
        start = time.perf_counter()
        told = work()
        seconds = time.perf_counter() - start
        profile.disable()
        turns += 1
        tell({"seconds": seconds, **told, **memory()})
    if target and turns > 1:
        profile.dump_stats(target)


def tell(told: dict[str, Any]) -> None:
    """Print a line that the other side reads."""
    print(json.dumps(told), flush=True)


def memory() -> dict[str, int]:
    """Give the bytes of memory that this process holds, and the most that it ever held."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("VmRSS", "VmHWM"))}
    return {"held_bytes": kilobytes["VmRSS"] * 1024, "peak_bytes": kilobytes["VmHWM"] * 1024}
