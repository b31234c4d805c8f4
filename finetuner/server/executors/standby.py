"""Workers that wait ready: each with a supervisor of its own, started after a run, for the next that is like it.

A standby has loaded the libraries and holds neither a run, a model, a user's code nor a secret. It is given a run with
the lock of its directory, so that the lock is held without a gap. `docs/run-directory.md` tells what is said.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs
import structlog

from finetuner.server.executors.rundir import COOKIE_VARIABLE, SUPERVISOR

STANDBY: Final = SUPERVISOR.with_name("standby.py")
_HERE_S: Final = 2.0
"""Who does not answer so long is as good as dead."""
_STARTED_S: Final = 2.0
"""Who said that it is here, and has the run, takes milliseconds; the database's writer waits for it."""
_END_S: Final = 5.0
_READ_BYTES: Final = 4096
_log = structlog.get_logger(__name__)


@attrs.frozen(kw_only=True)
class Model:
    """What a standby's worker was started with; a run that would be started with the same can be given to it."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = attrs.field(repr=False)
    """All of it, but for the cookie."""

    @property
    def can_wait(self) -> bool:
        """Whether it means the same in any folder: a run's folder is not known when its worker is started."""
        path = self.env.get("PYTHONPATH")
        return not path or all(map(os.path.isabs, path.split(os.pathsep)))


class Standby:
    """One supervisor that waits, its worker, and our end of the socket to it.

    Args:
        model: What to start the worker with.
        wait_s: It ends where there was no run for so long.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, model: Model, wait_s: float) -> None:
        self.model = model
        self.cookie: str = secrets.token_hex(16)
        """Marks its processes, and so those of the run that it is given."""
        self._said: set[str] = set()
        self._changed = threading.Condition()
        """Held to send, and to close: what is sent never goes to a stranger who got the descriptor's number."""
        self._is_gone = False
        self._is_given = False
        self._socket, its = socket.socketpair()
        command = [sys.executable, "-I", "-S", str(STANDBY), "--control-fd", str(its.fileno())]
        try:
            self._process = subprocess.Popen(
                [*command, "--wait-s", str(wait_s), "--", *model.argv],
                env={**model.env, COOKIE_VARIABLE: self.cookie},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(its.fileno(),),
                start_new_session=True,
            )
        except BaseException:  # whatever it was: no socket is left open, and the caller is told
            self._socket.close()
            raise
        finally:
            its.close()
        threading.Thread(target=self._listen, name=f"standby {self._process.pid}", daemon=True).start()

    @property
    def is_alive(self) -> bool:
        """Whether its supervisor still waits, as far as is known."""
        return not self._is_gone

    def is_here(self) -> bool:
        """Ask whether it can be given a run, once; one that does not answer is killed: a run of it is no loss."""
        with self._changed:
            if "here" in self._said:
                return not self._is_gone
        self._tell(b"here?\n")
        if self._has_said("here", _HERE_S):
            return True
        self._kill()
        return False

    def hand_over(self, run_dir: Path, alive: int) -> bool:
        """Give it a run; False where it has none now, nor ever will: the run may be started in another way.

        Where it ended after it had written `started.json`, that file says so, and the answer is False as well.

        Args:
            run_dir: Prepared, its `job.json` with this standby's cookie.
            alive: Descriptor of the run's lock, which is held; the caller keeps its own copy.
        """
        told = json.dumps({"run_dir": str(run_dir.resolve())}).encode() + b"\n"
        lock = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [alive]))
        if not self.is_here() or not self._tell(told, lock):
            self._kill()
            return False
        self._is_given = True
        # Not answered in time it is taken for done: it lives, holds the lock, and owes an end to the run.
        return self._has_said("started", _STARTED_S) or not self._is_gone

    def end(self) -> None:
        """End it and its worker, and wait for that; one that was given a run is left alone."""
        if self._is_given:
            return
        with self._changed, contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._kill()
            self._process.wait()

    def _kill(self) -> None:
        """Kill it, and wait for nothing: its worker ends by its lifeline."""
        self._process.kill()
        with self._changed, contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _tell(self, words: bytes, *ancillary: tuple[int, int, array.array[int]]) -> bool:
        with self._changed, contextlib.suppress(OSError):
            return self._socket.sendmsg([words], ancillary) == len(words)
        return False

    def _has_said(self, word: str, timeout_s: float) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: word in self._said or self._is_gone, timeout_s)
            return word in self._said

    def _listen(self) -> None:
        """Take down what it says until it is gone or has a run; reap its process in the end."""
        rest = b""
        with contextlib.suppress(OSError):
            while data := self._socket.recv(_READ_BYTES):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._hear(*line.decode(errors="replace").split())
        with self._changed:
            self._is_gone = True
            self._socket.close()
            self._changed.notify_all()
        self._process.wait()

    def _hear(self, word: str, *more: str) -> None:
        if word == "ready":
            _log.info("a worker waits ready for the next run", pid=int(more[0]))
        with self._changed:
            self._said.add(word)
            self._changed.notify_all()


class Standbys:
    """Those of one server.

    Args:
        most: So many at once; 0: none.
        wait_s: How long each waits for a run.
    """

    def __init__(self, most: int, wait_s: float) -> None:
        self._most = most if wait_s else 0
        self._wait_s = wait_s
        self._waiting: list[Standby] = []
        self._is_closed = False
        self._lock = threading.Lock()

    def take(self, model: Model) -> Standby | None:
        """Give one that is like this, which is then the caller's; None where there is none."""
        with self._lock:
            found = next((one for one in self._waiting if one.is_alive and one.model == model), None)
            if found is not None:
                self._waiting.remove(found)
            return found

    def keep(self, most: int) -> None:
        """End all but so many: the memory of the others is needed."""
        with self._lock:
            self._waiting = [one for one in self._waiting if one.is_alive]
            while len(self._waiting) > max(0, most):
                self._waiting.pop(0).end()

    def start_like(self, model: Model, room: int) -> None:
        """Start one like this for the next run, in place of the oldest other where there is no more room.

        Args:
            model: What the last run was started with.
            room: So many may wait, as far as the server's slots go.
        """
        room = min(self._most, room)
        if room <= 0 or not model.can_wait:
            return
        with self._lock:
            self._waiting = [one for one in self._waiting if one.is_alive]
            if self._is_closed or (len(self._waiting) >= room and any(one.model == model for one in self._waiting)):
                return
            while len(self._waiting) >= room:
                self._waiting.pop(0).end()
            try:
                self._waiting.append(Standby(model, self._wait_s))
            except (OSError, ValueError) as error:
                _log.warning("no worker could be started to wait ready", error=str(error))

    def close(self) -> None:
        """End all, and start none any more."""
        with self._lock:
            self._is_closed = True
            for one in self._waiting:
                one.end()
            self._waiting.clear()
