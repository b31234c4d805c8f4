"""A supervisor whose worker was started before there was a run: it waits for one, then owns it as any supervisor does.

    python -I -S standby.py --control-fd N --wait-s SECONDS -- COMMAND...

It starts the command at once, with a socket in `FINETUNER_STANDBY_FD`, and waits on its own socket for the server's
words. It ends, and its worker with it, when the server is gone, when the worker is, and when it has waited long enough.
`docs/run-directory.md` tells both conversations. The standard library alone, and what lies beside it: it is run by its
path, as `supervisor.py` is.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from finetuner.job.supervisor import Command

VARIABLE: Final = "FINETUNER_STANDBY_FD"
READ_BYTES: Final = 2**16
CLOSE_ON_EXEC: Final = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class Given(NamedTuple):
    """A run that the server gave."""

    run_dir: Path
    alive: int
    """Descriptor of its lock, which is held."""


class ReadyWorker:
    """The worker that waits.

    Args:
        command: Its process and pipes.
        control: Our end of the socket to it.
    """

    def __init__(self, command: Command, control: socket.socket) -> None:
        self.command = command
        self.control = control

    def give(self, run_dir: Path, job: dict[str, Any]) -> None:
        """Tell it the run; one that has ended is told in vain."""
        with contextlib.suppress(OSError):
            self.control.sendall(json.dumps({"run_dir": str(run_dir), "cwd": job["cwd"]}).encode() + b"\n")

    def has_taken(self) -> bool:
        """Say of a worker that has ended whether it began with the run: it says so before it does anything."""
        said = b""
        self.control.settimeout(0.0)
        with contextlib.suppress(OSError):
            while more := self.control.recv(READ_BYTES):
                said += more
        return b"taken\n" in said

    def end(self) -> None:
        """Kill it, with its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.command.process.pid, signal.SIGKILL)
        self.command.process.wait()


def wait(server: socket.socket, worker: ReadyWorker, deadline: float) -> Given | None:
    """Wait for a run; None when there is to be none: the server or the worker has ended, or the time is over."""
    words = bytearray()
    # Our end of the server's socket keeps the number that it had there, which may be more than `select` can take.
    with selectors.DefaultSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        selector.register(worker.control, selectors.EVENT_READ)
        while (left_s := deadline - time.monotonic()) > 0:
            heard = [key.fileobj for key, _ in selector.select(left_s)]
            if worker.control in heard:
                if not (said := worker.control.recv(READ_BYTES)):
                    return None
                server.sendall(b"%s %d\n" % (said.strip(), worker.command.process.pid))
            if server in heard:
                data, descriptors, _, _ = socket.recv_fds(server, READ_BYTES, 1, CLOSE_ON_EXEC)
                if not data:
                    return None
                words += data
                if descriptors:
                    return Given(_run_dir(server, words), descriptors[0])
                if words == b"here?\n":
                    words.clear()
                    server.sendall(b"here\n")
    return None


def _run_dir(server: socket.socket, words: bytearray) -> Path:
    """Read on to the end of the line that came with the lock."""
    while not words.endswith(b"\n"):
        if not (more := server.recv(READ_BYTES)):
            raise EOFError("the server was cut off while it gave a run")
        words += more
    return Path(json.loads(words)["run_dir"])


def _supervisor() -> ModuleType:
    """Import the file beside this one: `-I` leaves its folder off the path."""
    spec = importlib.util.spec_from_file_location("supervisor", Path(__file__).with_name("supervisor.py"))
    if spec is None or spec.loader is None:
        raise ImportError("supervisor.py is not beside standby.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["supervisor"] = module
    spec.loader.exec_module(module)
    return module


def _redirect(path: Path) -> None:
    """Say from here on in a run's directory what there is to complain about."""
    output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.close(output)


def main() -> int:
    """Start a worker, wait for a run, own it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--wait-s", type=float, required=True)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    deadline = time.monotonic() + options.wait_s
    server = socket.socket(fileno=options.control_fd)
    server.set_inheritable(False)
    # As in a supervisor: handlers rather than SIG_IGN, and nothing blocked, since the command would inherit both.
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    supervisor = _supervisor()
    control, its = socket.socketpair()
    env = {**os.environ, VARIABLE: str(its.fileno())}
    worker = ReadyWorker(supervisor.launch(options.command, "/", env, [its.fileno()]), control)
    its.close()
    given = None
    try:
        given = wait(server, worker, deadline)
    except (ConnectionError, EOFError):
        pass  # the server or the worker ended in the middle of a word: there is no run
    finally:
        if given is None:
            worker.end()
    if given is None:
        return 0
    supervisor.take_lock(given.alive)
    _redirect(given.run_dir / "supervisor.log")

    def started() -> None:
        with server, contextlib.suppress(OSError):
            server.sendall(b"started\n")

    supervisor.supervise(given.run_dir, worker, started)
    return 0


if __name__ == "__main__":
    sys.exit(main())
