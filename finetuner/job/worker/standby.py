"""The worker's side of waiting for a run: libraries are loaded, and no run, no user's code, no model is."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

VARIABLE: Final = "FINETUNER_STANDBY_FD"
_READ_BYTES: Final = 2**16
_Stamps: TypeAlias = Mapping[str, tuple[int, int] | None]


class Waiting:
    """A worker that waits for its run, on the socket that its supervisor gave it.

    Make it before the libraries are loaded.

    Args:
        when_early: Called in a thread where the run comes while the libraries are still being loaded.

    Raises:
        KeyError: The environment names no socket.
    """

    def __init__(self, when_early: Callable[[], None]) -> None:
        self._socket = socket.socket(fileno=int(os.environ.pop(VARIABLE)))
        self._socket.set_inheritable(False)
        self._when_early = when_early
        self._is_loaded = False
        self.was_early: bool = False
        """Whether the run came before the libraries were loaded."""
        self._lock = threading.Lock()
        self._watch = threading.Thread(target=self._look, name="standby", daemon=True)
        self._watch.start()

    def _look(self) -> None:
        with contextlib.suppress(OSError):
            is_there = bool(self._socket.recv(1, socket.MSG_PEEK))
            with self._lock:
                if is_there and not self._is_loaded:
                    self.was_early = True
                    self._when_early()

    def run_dir(self) -> Path | None:
        """Wait for the run and go where it is to be done; None where there is none, or this process is not fit for it.

        What this process has loaded must be what a new one would load: where a file of it has changed meanwhile, or the
        run's folder cannot be entered, it ends without a word, and its supervisor starts another.
        """
        loaded = _stamps()
        with self._lock:
            self._is_loaded = True
        try:
            return self._taken(loaded)
        finally:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread, where the run was read before it looked
            self._watch.join()
            self._socket.close()

    def _taken(self, loaded: _Stamps) -> Path | None:
        self._socket.sendall(b"ready\n")
        words = b""
        while not words.endswith(b"\n"):
            if not (more := self._socket.recv(_READ_BYTES)):
                return None
            words += more
        told = json.loads(words)
        if _stamps(loaded) != loaded:
            return None
        try:
            os.chdir(told["cwd"])
        except OSError:
            return None
        importlib.invalidate_caches()
        os.environ["FINETUNER_RUN_DIR"] = told["run_dir"]
        # From here on it is this run's worker: nobody starts another.
        self._socket.sendall(b"taken\n")
        return Path(told["run_dir"])


def _stamps(of: _Stamps | None = None) -> _Stamps:
    """Give time and size of the files that modules were loaded from, and of the folders that packages are put into."""
    if of is None:
        files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
        folders = (path for path in sys.path if path.endswith(("site-packages", "dist-packages")))
        of = dict.fromkeys([*(file for file in files if isinstance(file, str)), *folders])
    return {path: _stamp(path) for path in of}


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - thousands of them, before the run may begin
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
