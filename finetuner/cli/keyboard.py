"""A terminal whose keys are heard as they are pressed, given back as it was however the program ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import termios
import tty
from types import TracebackType
from typing import Any, Final, Self

import anyio

SUSPEND: Final = "suspend"
"""Heard for Ctrl-Z."""
ENDINGS: Final = {"terminated": signal.SIGTERM, "hung up": signal.SIGHUP}
"""Heard when the program is to end, with the signal that says so; a terminal that is gone is the second."""

_KEYS: Final = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1b[5~": "pgup",
    "\x1b[6~": "pgdn",
    **dict.fromkeys(("\x1b[H", "\x1bOH", "\x1b[1~", "\x1b[7~"), "home"),
    **dict.fromkeys(("\x1b[F", "\x1bOF", "\x1b[4~", "\x1b[8~"), "end"),
    "\x1b": "esc",
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\x08": "backspace",
}
_KEY: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z~]|\x1bO[A-Z]|.", re.DOTALL)


def keys_of(text: str) -> list[str]:
    """Give the keys that a terminal sent."""
    return [_KEYS.get(one, one) for one in _KEY.findall(text)]


class Keyboard:
    """The keys of a terminal within a `with` block, and the signals that a terminal or its owner sends.

    Args:
        descriptor: The terminal's.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._heard: asyncio.Queue[str] = asyncio.Queue()
        self._before: list[Any] = []

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for name, number in ENDINGS.items():
            loop.add_signal_handler(number, self._heard.put_nowait, name)
        self._take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()
        for number in ENDINGS.values():
            asyncio.get_running_loop().remove_signal_handler(number)

    async def get(self, timeout_s: float) -> list[str]:
        """Wait for a key, no longer than so, and give all that were heard."""
        heard: list[str] = []
        with anyio.move_on_after(timeout_s):
            heard.append(await self._heard.get())
        while not self._heard.empty():
            heard.append(self._heard.get_nowait())
        return heard

    def suspend(self) -> None:
        """Stop this process, the terminal as it was before, until the shell lets it go on."""
        self._give_back()
        os.kill(os.getpid(), signal.SIGTSTP)
        try:
            self._take()
        except termios.error:  # it was closed meanwhile
            self._heard.put_nowait("hung up")

    @property
    def is_gone(self) -> bool:
        """Whether the terminal was hung up, so that nothing can be shown."""
        try:
            termios.tcgetattr(self._descriptor)
        except termios.error:
            return True
        return False

    def _take(self) -> None:
        loop = asyncio.get_running_loop()
        self._before = termios.tcgetattr(self._descriptor)
        tty.setcbreak(self._descriptor)
        loop.add_reader(self._descriptor, self._read)
        loop.add_signal_handler(signal.SIGTSTP, self._heard.put_nowait, SUSPEND)

    def _give_back(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_signal_handler(signal.SIGTSTP)
        loop.remove_reader(self._descriptor)
        with contextlib.suppress(termios.error):  # it may be gone
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, 1024)
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            self._heard.put_nowait("hung up")
        for key in keys_of(data.decode("utf-8", "replace")):
            self._heard.put_nowait(key)
