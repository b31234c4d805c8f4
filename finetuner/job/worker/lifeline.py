"""The pipe from the supervisor: when it closes, the supervisor is dead, and the worker ends with all its children."""

from __future__ import annotations

import os
import signal
import threading
from typing import Final

VARIABLE: Final = "FINETUNER_LIFELINE_FD"


def hold() -> threading.Thread | None:
    """Watch the pipe that the environment names, in a thread; without one, nothing is watched."""
    text = os.environ.pop(VARIABLE, "")
    if not text:
        return None
    descriptor = int(text)
    os.set_inheritable(descriptor, False)  # noqa: FBT003 - the standard library's signature
    thread = threading.Thread(target=_watch, args=(descriptor,), name="lifeline", daemon=True)
    thread.start()
    return thread


def _watch(descriptor: int) -> None:
    while os.read(descriptor, 1):
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
