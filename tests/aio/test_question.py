"""The question for a token, at a real terminal."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time

SCRIPT = """
import asyncio
from finetuner.aio.question import ask_secret
print("got", repr(asyncio.run(ask_secret("Token for here: "))))
"""


class Terminal:
    """A process whose terminal is ours."""

    def __init__(self) -> None:
        self.ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        self.seen = ""

    def until(self, text: str, timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while text not in self.seen:
            assert time.monotonic() < deadline, f"{text!r} never came: {self.seen!r}"
            if select.select([self.ours], [], [], 0.1)[0]:
                self.seen += os.read(self.ours, 4096).decode()


def test_the_answer_is_given_and_not_shown() -> None:
    terminal = Terminal()
    terminal.until("Token for here:")
    os.write(terminal.ours, b"hush\n")
    terminal.until("got 'hush'")
    assert terminal.seen.count("hush") == 1
    assert terminal.process.wait(60) == 0


def test_ctrl_c_ends_it_without_another_key() -> None:
    terminal = Terminal()
    terminal.until("Token for here:")
    terminal.process.send_signal(signal.SIGINT)
    terminal.until("KeyboardInterrupt")
    assert terminal.process.wait(60) != 0
