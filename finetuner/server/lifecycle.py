"""A server's life: its lock, its socket, the file by which it is found, its log, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import gc
import io
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TextIO, TypeVar, cast

import structlog
from aiohttp import web

from finetuner.api.embedded import ServerFile, package_version
from finetuner.errors import FinetunerError, StateCorrupt, StorageFull
from finetuner.server import keys, open_files
from finetuner.server.app import make_app, set_up
from finetuner.server.presence import PRESENCE, Presence
from finetuner.server.settings import Settings

T = TypeVar("T")
_LOCK_WAIT_S: Final = 2.0
_STREAMS_END_S: Final = 5.0
_LOOK_S: Final = 1.0
_ROOM_BYTES: Final = 2**20
_COLLECTED_AFTER: Final = 10_000
"""New objects; Python would look after 700, which a request or two make."""
_log = structlog.get_logger("finetuner.server")


class PortTakenError(FinetunerError):
    """Another program listens on that port, or the address is not this machine's."""


class FolderTakenError(FinetunerError):
    """Another server runs on that state folder."""


class SchedulerEndedError(FinetunerError):
    """Nothing starts or follows runs any more."""


class LogFile(io.TextIOBase):
    """The server's log: a line that the disk refuses is lost, and nothing else with it.

    Args:
        descriptor: Of a file opened to append to.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._is_cut = False

    def write(self, text: str) -> int:
        """Write a line as far as there is room."""
        data = (b"\n" if self._is_cut else b"") + text.encode(errors="replace")
        with contextlib.suppress(OSError):
            # One write a line: what a buffer kept of a refused one would come again, or fail at the end.
            self._is_cut = os.write(self._descriptor, data) < len(data)
        return len(text)


def set_up_log(settings: Settings) -> None:
    """Write the server's log as JSON lines; an embedded one has its own file as stdout already.

    Raises:
        StateCorrupt: The state folder cannot be used.
        StorageFull: The disk is full.
    """
    explained(settings.root, lambda: settings.root.mkdir(mode=0o700, parents=True, exist_ok=True))
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    file = LogFile(explained(settings.root, lambda: os.open(settings.log_path, flags, 0o600)))
    settings.log_path.chmod(0o600)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=str),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", file)),
        cache_logger_on_first_use=True,
    )


def explained(root: Path, act: Callable[[], T]) -> T:
    """Do something with the state folder; what the system says against it is told in words.

    Raises:
        StateCorrupt: The folder cannot be used.
        StorageFull: The disk is full.
    """
    try:
        return act()
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise StorageFull(f"the disk that holds {root} is full: free some space, and start again") from error
        where = f", {error.filename}" if error.filename not in {None, str(root)} else ""
        raise StateCorrupt(
            f"the state folder {root} cannot be used ({error.strerror or error}{where}): make it a folder that the "
            "server may write to, or choose another"
        ) from error


@contextlib.contextmanager
def held(settings: Settings) -> Iterator[None]:
    """Hold the state folder's lock: one server a folder, and whoever looks knows that it lives.

    Raises:
        FolderTakenError: Another server has it.
        StateCorrupt: The folder cannot be used.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    descriptor = explained(settings.root, lambda: os.open(settings.lock_path, flags, 0o600))
    try:
        # Those who look hold a shared lock for microseconds: only a server holds it longer.
        deadline = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise FolderTakenError(
                        f"another server runs on {settings.state_dir}: stop it (`finetuner server stop`; one for a "
                        "team where it was started, with Ctrl-C), or choose another folder with --state-dir"
                    ) from None
                time.sleep(0.02)
        explained(settings.root, lambda: settings.file_path.unlink(missing_ok=True))
        with contextlib.suppress(OSError):  # a full disk: who looks is told the file instead of the number
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def check_room(settings: Settings) -> None:
    """Make sure that what a start writes finds room, before any of it is written.

    Raises:
        StateCorrupt: Something else stands where a folder of its own belongs.
        StorageFull: The disk is full.
    """

    def act() -> None:
        for folder in (settings.runs_dir, settings.blobs_dir / "uploads"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=settings.root) as file:
            file.write(bytes(_ROOM_BYTES))
            file.flush()
            os.fsync(file.fileno())

    explained(settings.root, act)


def bound_socket(host: str, port: int) -> socket.socket:
    """Take an address, without listening yet: nobody connects before the server can answer.

    Raises:
        PortTakenError: It is in use, or cannot be had.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise PortTakenError(f"{host!r} is no address of this machine ({error})") from error
    family, kind, protocol, _, address = found[0]
    taken = socket.socket(family, kind, protocol)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
    except (OSError, OverflowError) as error:
        taken.close()
        in_use = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        why = "is in use by another program: end that one, or choose another --port" if in_use else f"({error})"
        raise PortTakenError(f"cannot listen on {host}:{port}: it {why}") from error
    return taken


def url_of(taken: socket.socket) -> str:
    """Give the URL under which this machine reaches a socket."""
    host, port = taken.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def announce(settings: Settings, url: str) -> None:
    """Write `server.json`, whole or not at all."""
    said = ServerFile(
        url=url,
        token=settings.token or "",
        version=package_version(),
        instance=settings.instance,
        embedded=settings.embedded,
    )
    descriptor, name = tempfile.mkstemp(prefix=".server.", dir=settings.root)
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(said.dumps())
            file.flush()
            os.fsync(file.fileno())
        part.replace(settings.file_path)
    finally:
        part.unlink(missing_ok=True)


async def serve(settings: Settings, taken: socket.socket) -> None:
    """Serve until a signal, a client or idleness ends it; runs go on.

    Raises:
        SchedulerEndedError: A fault ended it; whoever looks after the server is to start it again.
        StateCorrupt: The state folder cannot be used.
        StorageFull: The disk is full.
    """
    app = make_app(settings)
    presence = app[PRESENCE]
    runner = await set_up(app, streams_end_s=_STREAMS_END_S)
    try:
        await web.SockSite(runner, taken).start()
        url = url_of(taken)
        explained(settings.root, lambda: announce(settings, url))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, presence.stopping.set)
        _log.info("server listens", url=url, version=package_version(), pid=os.getpid(), slots=settings.slots)
        if not settings.embedded:
            sys.stderr.write(f"Finetuner listens on {url}. Ctrl-C stops it; its runs go on.\n")
            sys.stderr.flush()
        announcing = loop.create_task(_stay_announced(settings, url))
        try:
            await _until_end(settings, app, presence)
        finally:
            announcing.cancel()
        # Nobody finds it from here on; whoever looks starts another once the lock is free.
        settings.file_path.unlink(missing_ok=True)
        presence.stopping.set()
        has_scheduler = app[keys.SCHEDULER].is_alive
    finally:
        await runner.cleanup()
    if not has_scheduler:
        raise SchedulerEndedError(
            "a fault ended what starts and follows runs, and the server with it: its log says more"
        )
    _log.info("server stopped")


async def _stay_announced(settings: Settings, url: str) -> None:
    """Write `server.json` again where it was removed or changed: nobody would find the server, or could stop it."""
    written = _stamp(settings.file_path)
    while True:
        await asyncio.sleep(_LOOK_S)
        if _stamp(settings.file_path) != written:
            with contextlib.suppress(OSError):  # no room, or no folder: tried again
                announce(settings, url)
                _log.warning("server.json was removed or changed: written again")
                written = _stamp(settings.file_path)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


async def _until_end(settings: Settings, app: web.Application, presence: Presence) -> None:
    limit_s = settings.idle_stop_s if settings.embedded else 0.0
    if not limit_s:
        await presence.stopping.wait()
        return
    loop = asyncio.get_running_loop()
    worked_s = loop.time()
    while True:
        if not app[keys.SCHEDULER].is_idle:
            worked_s = loop.time()
        left_s = limit_s - min(presence.idle_s(), loop.time() - worked_s)
        if left_s <= 0:
            _log.info("nobody was here for a while: stopping", idle_stop_s=limit_s)
            return
        if await presence.stops_within(min(left_s, limit_s / 4)):
            return


def run(settings: Settings) -> None:
    """Serve in this process until the server is to stop.

    Raises:
        FolderTakenError: Another server runs on the state folder.
        PortTakenError: The address cannot be had.
        SchedulerEndedError: A fault ended it.
        StateCorrupt: The state folder cannot be used.
        StorageFull: The disk is full.
    """
    open_files.raise_limit()
    with held(settings), bound_socket(settings.host, settings.port) as taken:
        check_room(settings)
        # What is loaded by now stays; to look through it for garbage again and again was a twentieth of all work.
        gc.freeze()
        gc.set_threshold(_COLLECTED_AFTER)
        asyncio.run(serve(settings, taken))
