"""Options and fixtures that every test shares."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
from hypothesis import settings

settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")

os.environ.setdefault("FINETUNER_WARM_WORKERS", "0")
"""Tests that count processes, or memory, want none that waits; those of such workers ask for them."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what it puts in the background deaf to Ctrl-C, and every process of a test would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--scale",
        type=float,
        default=0.02,
        help="share of the full count that counted tests run; 1 runs all of it",
    )


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def scaled(request: pytest.FixtureRequest) -> Callable[[int], int]:
    """Give the number of repetitions of a counted test: its full count times `--scale`, at least 1."""
    scale = float(request.config.getoption("--scale"))
    return lambda full: max(1, round(full * scale))
