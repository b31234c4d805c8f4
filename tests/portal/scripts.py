"""Runs a program of a user as a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMIT_S = 60
"""Longer than anything takes here: only a hang reaches it."""

PRELUDE = """
import asyncio, itertools, multiprocessing, os, signal, sys, threading, time
from finetuner.portal import portal

def say(*words):
    print(*words, flush=True)

async def wait_for_ever():
    try:
        say("waiting")
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        say("cleaned up")

async def ticks():
    try:
        for number in itertools.count():
            yield number
            await asyncio.sleep(0.001)
    finally:
        await asyncio.sleep(0.01)
        if is_talkative:
            say("closed")

async def double(number):
    await asyncio.sleep(0)
    return 2 * number

is_talkative = False
"""


@contextlib.contextmanager
def started(source: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a program, kill it in the end if it is still there."""
    process = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(source), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def run(source: str, *arguments: str) -> tuple[int, str, str]:
    """Run a program to its end; give its exit code and all that it wrote."""
    with started(source, *arguments) as process:
        output, errors = process.communicate(timeout=LIMIT_S)
    return process.returncode, output, errors


def interrupt_at(process: subprocess.Popen[str], line: str) -> None:
    """Press Ctrl-C when the program says a line."""
    assert process.stdout is not None
    assert process.stdout.readline() == f"{line}\n"
    process.send_signal(signal.SIGINT)
