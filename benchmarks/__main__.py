"""Run every benchmark, or those that are named."""

from __future__ import annotations

import argparse
import importlib
import os
import platform

NAMES = ("imports", "console")


def main() -> None:
    """Parse the command line, say what machine this is, and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], help="which; all of them by default")
    parser.add_argument("--repeat", type=int, default=9, help="measured repetitions (default: 9)")
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} cores")
    for name in options.names or NAMES:
        importlib.import_module(f"benchmarks.{name}").main(options.repeat)


if __name__ == "__main__":
    main()
