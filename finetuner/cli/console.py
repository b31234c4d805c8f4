"""Where tables and colours go."""

from __future__ import annotations

import errno
from typing import NoReturn

from finetuner.aio.console import SizedConsole


class PlainConsole(SizedConsole):
    """Takes text as it is: no markup, no guessing at numbers or emoji."""

    def __init__(self, *, width: int | None = None, stderr: bool = False) -> None:
        super().__init__(width=width, stderr=stderr, highlight=False, markup=False, emoji=False)

    def on_broken_pipe(self) -> NoReturn:
        """Leave it to the entrance how to end when the reader of the output went away.

        Raises:
            BrokenPipeError: Always.
        """
        raise BrokenPipeError(errno.EPIPE, "the reader of the output went away")
