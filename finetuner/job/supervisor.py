"""Owns one run: starts its command, takes its output, says how it ended.

    python -I -S supervisor.py RUN_DIR --alive-fd N           run the command of RUN_DIR/job.json
    python -I -S supervisor.py RUN_DIR --alive-fd N --lost    the supervisor was killed: end what it left, say so

Either way the process holds the lock on `RUN_DIR/alive` for life and is the only one that writes `exit.json`.
`docs/run-directory.md` names every file and field. One file of the standard library alone, longer than others, so
that it runs by its path under any interpreter, on any machine, whatever is installed there. `standby.py`, beside it, is
a supervisor whose worker was started before there was a run.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import json
import math
import os
import selectors
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

SCHEMA: Final = 1
MAX_LINE_BYTES: Final = 64 * 2**10
MAX_EVENT_BYTES: Final = 4 * 2**20
MAX_WAITING_BYTES: Final = 4 * 2**20
"""Output kept in memory while the disk refuses it; what comes on top is dropped, and counted."""
MAX_EVENT_DEPTH: Final = 100
"""Lists and objects within each other; readers give up at some depth, each at its own."""
LAST_LINES: Final = 20
LAST_LINE_CHARACTERS: Final = 500
FAILURE_CHARACTERS: Final = {"type": 200, "message": 4_000, "hint": 1_000, "traceback": 16_000}
READ_BYTES: Final = 2**15
LAST_READS: Final = 40
"""Empty a pipe of 1 MiB, the largest that Linux gives, and end even if a stranger keeps writing."""
TICK_S: Final = 0.05
EXIT_RETRY_S: Final = 600.0
"""How long a disk that refuses `exit.json` is given to recover."""

Json = dict[str, Any]


class LogLines:
    r"""Makes whole lines of output that arrives cut anywhere; the cuts make no difference.

    A line ends at `\n` alone. Of what `\r` overprinted, the last is kept. A longer line than 64 KiB is split, between
    two UTF-8 characters.
    """

    def __init__(self) -> None:
        self._text = bytearray()
        self._overprinted = b""

    def feed(self, data: bytes) -> bytes:
        """Give the lines that these bytes complete, each with its newline."""
        if not self._overprinted and b"\r" not in data and len(self._text) + len(data) <= MAX_LINE_BYTES:
            self._text += data
            done_bytes = self._text.rfind(b"\n") + 1
            whole = bytes(self._text[:done_bytes])
            del self._text[:done_bytes]
            return whole
        first, *others = data.split(b"\n")
        done = self._take(first)
        for part in others:
            done += self._end() + self._take(part)
        return bytes(done)

    def finish(self) -> bytes:
        """Give the last line, where no newline ended it."""
        return self._end() if self._text or self._overprinted else b""

    def _take(self, part: bytes) -> bytearray:
        done = bytearray()
        first, *others = part.split(b"\r")
        self._text += first
        done += self._split()
        for overprint in others:
            self._overprinted = bytes(self._text) or self._overprinted
            self._text[:] = overprint
            done += self._split()
        return done

    def _split(self) -> bytearray:
        done = bytearray()
        while len(self._text) > MAX_LINE_BYTES:
            cut = MAX_LINE_BYTES
            while cut > MAX_LINE_BYTES - 4 and self._text[cut] & 0xC0 == 0x80:
                cut -= 1
            if self._text[cut] & 0xC0 == 0x80:
                cut = MAX_LINE_BYTES
            done += self._text[:cut] + b"\n"
            del self._text[:cut]
            self._overprinted = b""
        return done

    def _end(self) -> bytes:
        line = (bytes(self._text) or self._overprinted) + b"\n"
        self._text.clear()
        self._overprinted = b""
        return line


class EventLines:
    """Makes checked lines of JSON of what the job writes to its events pipe; remembers the last failure."""

    def __init__(self) -> None:
        self.failure: Json | None = None
        self._line = bytearray()
        self._skipped_bytes = 0

    def feed(self, data: bytes) -> bytes:
        """Give the events that these bytes complete, one line each."""
        first, *others = data.split(b"\n")
        self._take(first)
        done = bytearray()
        for part in others:
            done += self.finish()
            self._take(part)
        return bytes(done)

    def finish(self) -> bytes:
        """Give the event in the line so far, as if a newline had come."""
        line, skipped = bytes(self._line), self._skipped_bytes
        self._line.clear()
        self._skipped_bytes = 0
        if skipped:
            return note(f"an event of {len(line) + skipped} bytes was dropped; at most {MAX_EVENT_BYTES} are taken")
        return self._checked(line) if line.strip() else b""

    def _take(self, part: bytes) -> None:
        room = MAX_EVENT_BYTES - len(self._line)
        self._line += part[:room]
        self._skipped_bytes += max(0, len(part) - room)

    def _checked(self, line: bytes) -> bytes:
        try:
            event = json.loads(line, parse_constant=lambda _: None, parse_float=_finite, parse_int=_of_64_bits)
            at = event.get("t")
            written = dump({**event, "t": at if isinstance(at, int | float) else time.time()})
            if not isinstance(event["kind"], str) or len(written) > MAX_EVENT_BYTES or _is_deep(event):
                raise ValueError  # noqa: TRY301  the same note for everything that is no event
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return note(f"the job sent what is no JSON object with a kind: {line[:200].decode(errors='replace')}")
        if event["kind"] == "failure":
            self.failure = failure_of(event)
        return written


class Appender:
    """A file that only ever gains whole lines, whatever the disk does.

    Args:
        path: The file.
        notice: Makes the line that stands in the file for a number of dropped bytes.
    """

    def __init__(self, path: Path, notice: Callable[[int], bytes]) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._notice = notice
        self._waiting = bytearray()
        self._gap_bytes = 0
        self.size_bytes: int = os.fstat(self._fd).st_size
        self.dropped_bytes: int = 0
        self.error: OSError | None = None

    def append(self, lines: bytes) -> None:
        """Write whole lines; while the disk refuses, keep them, or drop and count them."""
        if self._gap_bytes or len(self._waiting) + len(lines) > MAX_WAITING_BYTES:
            self._gap_bytes += len(lines)
            self.dropped_bytes += len(lines)
        else:
            self._waiting += lines
        if self.error is None:
            self.flush()

    def flush(self) -> None:
        """Try to write what waits; a line of which a part was refused is taken back."""
        data, written = bytes(self._waiting), 0
        try:
            while written < len(data):
                written += os.write(self._fd, memoryview(data)[written:])
            self.error = None
        except OSError as error:
            self.error = error
            written = data.rfind(b"\n", 0, written) + 1
            os.ftruncate(self._fd, self.size_bytes + written)
        self.size_bytes += written
        del self._waiting[:written]
        if self._gap_bytes and self.error is None:
            self._waiting += self._notice(self._gap_bytes)
            self._gap_bytes = 0
            self.flush()

    def close(self) -> None:
        """Write what can be written, and see it to the disk."""
        self.flush()
        self.dropped_bytes += len(self._waiting)
        with contextlib.suppress(OSError):
            os.fsync(self._fd)
        os.close(self._fd)


class Command(NamedTuple):
    """A command that was started, and our ends of its pipes."""

    process: subprocess.Popen[bytes]
    output: int
    events: int
    lifeline: int


class Ready(Protocol):
    """A worker that was started before there was a run, and waits for one."""

    @property
    def command(self) -> Command:
        """Its process and pipes."""

    def give(self, run_dir: Path, job: Json) -> None:
        """Tell it the run; one that has ended is told in vain."""

    def has_taken(self) -> bool:
        """Say of a worker that has ended whether it began with the run."""

    def end(self) -> None:
        """Kill it, with its group."""


def launch(argv: Sequence[str], cwd: str, env: Mapping[str, str], pass_fds: Sequence[int] = ()) -> Command:
    """Start a command in a session of its own, with pipes for its output and events, and a lifeline.

    Raises:
        OSError: It cannot be started; nothing is left open.
        ValueError: Its command or environment holds what none may.
    """
    output, output_end = os.pipe()
    events, events_end = os.pipe()
    lifeline_end, lifeline = os.pipe()
    try:
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env={**env, "FINETUNER_EVENTS_FD": str(events_end), "FINETUNER_LIFELINE_FD": str(lifeline_end)},
            stdin=subprocess.DEVNULL,
            stdout=output_end,
            stderr=output_end,
            pass_fds=(events_end, lifeline_end, *pass_fds),
            start_new_session=True,
        )
    except BaseException:  # whatever it was: nothing is left open, and the caller is told
        for fd in (output, events, lifeline):
            os.close(fd)
        raise
    finally:
        for fd in (output_end, events_end, lifeline_end):
            os.close(fd)
    return Command(process, output, events, lifeline)


class Supervisor:
    """Runs the command of one run directory, from its start to what `exit.json` says."""

    def __init__(self, run_dir: Path, job: Json) -> None:
        self._run_dir = run_dir
        self._job = job
        self._log_lines = LogLines()
        self._event_lines = EventLines()
        self._log = Appender(run_dir / "log", lambda n: f"[finetuner] the disk refused {n} bytes here\n".encode())
        self._events = Appender(run_dir / "events.jsonl", lambda n: note(f"the disk refused {n} bytes of events here"))
        self._selector = selectors.DefaultSelector()
        self._pipes: set[int] = set()
        self._terminated = False
        self._is_cancelled = False
        self._kill_at = math.inf
        self._return_code: int | None = None

    def run(self, ready: Ready | None = None) -> Json:
        """Run the command and give the fields of `exit.json` that only its parent knows.

        Args:
            ready: A worker to give the run to; where it ends before it began with it, the command is started after all.
        """
        self._take_signals()
        failure = None
        self._is_cancelled = self._stop_requested()
        if ready is not None and self._is_cancelled:
            ready.end()
        elif ready is not None and self._was_done_by(ready):
            return self._result(None)
        if not self._is_cancelled:
            try:
                command = self._launch()
            except (OSError, ValueError) as error:
                failure = self._cannot_start(error)
            else:
                self._attend(command)
        return self._result(failure)

    def _was_done_by(self, ready: Ready) -> bool:
        """Have a worker that waits do the run; False where it never began with it, so that it is safe to start."""
        ready.give(self._run_dir, self._job)
        self._attend(ready.command)
        if self._is_cancelled or ready.has_taken():
            return True
        self._log.append(self._log_lines.finish())
        self._return_code = None
        self._is_cancelled = self._stop_requested()
        return False

    def _take_signals(self) -> None:
        wake, signalled = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(signalled, False)
        signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
        self._selector.register(wake, selectors.EVENT_READ)
        # Handlers rather than SIG_IGN, and nothing blocked: the command would inherit both.
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_sigterm)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _launch(self) -> Command:
        own = {"FINETUNER_RUN_DIR": str(self._run_dir), "FINETUNER_COOKIE": self._job["cookie"]}
        return launch(self._job["argv"], self._job["cwd"], {**os.environ, **self._job["env"], **own})

    def _attend(self, command: Command) -> None:
        """Take the command's output until it has ended, and no process of the run is left."""
        process = command.process
        for fd, read in ((command.output, self._on_output), (command.events, self._on_events)):
            os.set_blocking(fd, False)
            self._selector.register(fd, selectors.EVENT_READ, read)
            self._pipes.add(fd)
        drain_until = math.inf
        next_tick = 0.0
        while self._pipes or drain_until == math.inf:
            self._read(TICK_S)
            now = time.monotonic()
            if drain_until == math.inf and _has_ended(process):
                drain_until = now + self._job["drain_s"]
            if now >= next_tick:
                next_tick = now + TICK_S
                self._retry_writes()
                if drain_until == math.inf:
                    self._stop_if_asked(process.pid, now)
                elif now >= drain_until or self._stop_requested():
                    break
        # The command is not reaped yet, so that its group's number cannot have passed to strangers.
        signal_group(process.pid, signal.SIGKILL)
        try:
            kill_marked(self._job["cookie"])
        except TimeoutError as error:
            self._events.append(note(str(error)))
        for _ in range(LAST_READS):
            self._read(0.0)
        self._return_code = process.wait()
        os.close(command.lifeline)

    def _retry_writes(self) -> None:
        for file in (self._log, self._events):
            if file.error is not None:
                file.flush()

    def _stop_if_asked(self, group: int, now: float) -> None:
        if not self._is_cancelled and self._stop_requested():
            self._is_cancelled = True
            self._kill_at = now + self._job["grace_s"]
            signal_group(group, signal.SIGTERM)
        elif now >= self._kill_at:
            signal_group(group, signal.SIGKILL)

    def _read(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            data = b""
            with contextlib.suppress(BlockingIOError):
                data = os.read(key.fd, READ_BYTES)
                if not data:
                    self._selector.unregister(key.fd)
                    self._pipes.discard(key.fd)
                    os.close(key.fd)
            if data and key.data is not None:
                key.data(data)

    def _on_output(self, data: bytes) -> None:
        if lines := self._log_lines.feed(data):
            self._log.append(lines)

    def _on_events(self, data: bytes) -> None:
        if lines := self._event_lines.feed(data):
            self._events.append(lines)

    def _on_sigterm(self, *_: object) -> None:
        self._terminated = True

    def _stop_requested(self) -> bool:
        """Say whether somebody wants the run's end; whoever removes its directory does."""
        return self._terminated or (self._run_dir / "stop").exists() or not self._run_dir.exists()

    def _cannot_start(self, error: Exception) -> Json:
        hint = "the command and the folder it runs in must exist on this machine, and the command be executable"
        return failure_of({"type": type(error).__name__, "message": f"cannot start the job: {error}", "hint": hint})

    def _result(self, failure: Json | None) -> Json:
        self._log.append(self._log_lines.finish())
        self._events.append(self._event_lines.finish())
        code = self._return_code
        if failure is not None:
            outcome = "failed"
        elif self._is_cancelled:
            outcome, failure = "cancelled", failure_of({"type": "Cancelled", "message": "the run was cancelled"})
        elif code == 0:
            outcome = "finished"
        else:
            outcome, failure = "failed", self._event_lines.failure or failure_of_code(code or 0)
        last_lines = _last_lines(self._run_dir / "log")
        if failure is not None:
            self._log.append(last_words(last_lines, failure))
        self._log.close()
        self._events.close()
        refused = self._log.error or self._events.error
        dropped_bytes = self._log.dropped_bytes + self._events.dropped_bytes
        if dropped_bytes and self._event_lines.failure is None and outcome != "cancelled":
            failure = failure_of_disk(refused, dropped_bytes, ended=(failure or {}).get("message", "the job finished"))
        return {
            "outcome": outcome,
            "exit_code": code if code is not None and code >= 0 else None,
            "signal": -code if code is not None and code < 0 else None,
            "failure": failure,
            "last_lines": last_lines,
        }


def bury(run_dir: Path, job: Json) -> Json:
    """End what a killed supervisor left, and give the fields of `exit.json` that say so."""
    if "cookie" in job:
        kill_marked(job["cookie"])
    # Readers take whole lines: a line of the log cut by the kill is ended, an event that was cut is none.
    events = _tail(run_dir / "events.jsonl", MAX_EVENT_BYTES)
    if events and not events.endswith(b"\n"):
        size_bytes = (run_dir / "events.jsonl").stat().st_size
        os.truncate(run_dir / "events.jsonl", size_bytes - len(events) + events.rfind(b"\n") + 1)
    failure, last_lines = _last_failure(events) or failure_of_loss(), _last_lines(run_dir / "log")
    cut = b"" if _tail(run_dir / "log", 1) in {b"", b"\n"} else b"\n"
    with contextlib.suppress(OSError), (run_dir / "log").open("ab") as log:
        log.write(cut + last_words(last_lines, failure))
    return {"outcome": "lost", "exit_code": None, "signal": None, "failure": failure, "last_lines": last_lines}


def last_words(last_lines: list[str], failure: Json) -> bytes:
    """Give the line that says in the log why the run failed, unless the job has said so itself."""
    message = " ".join(failure["message"].split())
    if message and any(message[: LAST_LINE_CHARACTERS // 2] in " ".join(line.split()) for line in last_lines):
        return b""
    return f"failed: {failure['type']}: {message}\n".encode(errors="replace")


def write_exit(run_dir: Path, fields: Json) -> None:
    """Write `exit.json`, the last thing that happens to a run; a disk in trouble is given time.

    Raises:
        OSError: The disk refused for ten minutes, or the directory is gone. The run will be found lost.
    """
    part, artifact = run_dir / "artifact.zip.part", run_dir / "artifact.zip"
    if fields["outcome"] != "finished":
        part.unlink(missing_ok=True)
        artifact.unlink(missing_ok=True)
    elif part.exists():
        _sync(part)
        part.rename(artifact)
    fields = {
        "schema": SCHEMA,
        "last_lines": _last_lines(run_dir / "log"),
        **fields,
        "log_bytes": _size_bytes(run_dir / "log") or 0,
        "events_bytes": _size_bytes(run_dir / "events.jsonl") or 0,
        "artifact_bytes": _size_bytes(artifact),
        "started_at": read_json(run_dir / "started.json").get("started_at"),
        "ended_at": _now(),
    }
    deadline = time.monotonic() + EXIT_RETRY_S
    while True:
        try:
            write_json(run_dir / "exit.json", fields)
        except FileNotFoundError:
            raise
        except OSError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(1.0)
        else:
            return


def write_json(path: Path, value: Json) -> None:
    """Write a file whole or not at all, over the room that was set aside for it."""
    part = path.with_name(f"{path.name}.part")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(dump(value))
        file.truncate()
        file.flush()
        os.fsync(fd)
    part.replace(path)
    _sync(path.parent)


def read_json(path: Path) -> Json:
    """Read a JSON object; one that is missing or broken is empty."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def dump(value: Json) -> bytes:
    """Give one line of JSON that every reader takes: finite numbers, no lone surrogates."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode(errors="replace") + b"\n"


def note(message: str) -> bytes:
    """Give the event by which the supervisor itself says something."""
    return dump({"kind": "log", "t": time.time(), "level": "warning", "message": message})


def failure_of(event: Mapping[str, object]) -> Json:
    """Give a failure as `exit.json` has it."""
    failure: Json = {}
    for name, most in FAILURE_CHARACTERS.items():
        text = None if event.get(name) is None else str(event[name])
        failure[name] = text and (text[-most:] if name == "traceback" else text[:most])
    return {**failure, "type": failure["type"] or "Exception", "message": failure["message"] or ""}


def failure_of_code(code: int) -> Json:
    """Say what is known of a job that ended without a word.

    Args:
        code: Exit code; negative: the signal that ended it. A shell gives 128 plus that signal.
    """
    number = -code if code < 0 else code - 128
    try:
        name = signal.Signals(number).name
    except ValueError:
        return failure_of(
            {
                "type": "ExitCode",
                "message": f"the job ended with exit code {code}",
                "hint": "the last lines of its log may say why",
            }
        )
    hints = {
        signal.SIGKILL: "most often the machine ran out of memory: a smaller model, batch or text length takes less",
        signal.SIGXCPU: "the machine's limit of processor time was reached",
    }
    crash = "native code crashed; the last lines of the log may say where"
    hint = hints.get(
        signal.Signals(number), crash if name in {"SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE"} else None
    )
    return failure_of({"type": "Killed", "message": f"the job was ended by signal {number} ({name})", "hint": hint})


def failure_of_loss() -> Json:
    """Say what is known of a run whose supervisor was killed."""
    return failure_of(
        {
            "type": "Lost",
            "message": "the run's supervisor ended without a word: it was killed, or the machine went down",
            "hint": "submit the run again; its log is complete up to that moment",
        }
    )


def failure_of_disk(error: OSError | None, dropped_bytes: int, ended: str) -> Json:
    """Say that the run's record has gaps."""
    why = error.strerror if error is not None else "it has room again"
    return failure_of(
        {
            "type": "StorageFull",
            "message": f"{ended}; the disk refused {dropped_bytes} bytes of its log or events ({why})",
            "hint": "free some room on the disk that holds the run directory, then submit the run again",
        }
    )


def kill_marked(cookie: str, timeout_s: float = 20.0) -> None:
    """Kill every process that carries this run's cookie in its environment (Linux; elsewhere the lifeline ends them).

    Two looks in a row must find none: one look misses a process that just forked, or is about to run another program.

    Raises:
        TimeoutError: Some are still there.
    """
    if sys.platform != "linux":
        return
    deadline = time.monotonic() + timeout_s
    clean_looks = 0
    while clean_looks < 2:
        found = [pid for pid in _others() if _kill_if_marked(pid, f"FINETUNER_COOKIE={cookie}".encode())]
        clean_looks = 0 if found else clean_looks + 1
        if time.monotonic() >= deadline:
            raise TimeoutError(f"processes {found} of the run survive SIGKILL")
        time.sleep(0.005)


def signal_group(group: int, number: int) -> None:
    """Send a signal to a process group, where there is one."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _others() -> Iterator[int]:
    names = (entry.name for entry in Path("/proc").iterdir())
    return (int(name) for name in names if name.isdecimal() and int(name) != os.getpid())


def _kill_if_marked(pid: int, mark: bytes) -> bool:
    with contextlib.suppress(OSError):
        if mark not in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return False
        # The descriptor pins the process, so that a second look proves that the signal goes to the one first seen.
        pinned = _pin(pid)
        try:
            if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                if pinned is None:
                    os.kill(pid, signal.SIGKILL)
                else:
                    signal.pidfd_send_signal(pinned, signal.SIGKILL)
                return True
        finally:
            if pinned is not None:
                os.close(pinned)
    return False


def _pin(pid: int) -> int | None:
    """Give a descriptor of a process; None where the system has none (before Linux 5.3, or in some sandboxes)."""
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno in {errno.ENOSYS, errno.EPERM}:
            return None
        raise


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    if sys.platform == "darwin":
        return process.poll() is not None
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _of_64_bits(text: str) -> int | None:
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


def _is_deep(event: Json) -> bool:
    level: list[Any] = [event]
    for _ in range(MAX_EVENT_DEPTH):
        held = (inner for outer in level for inner in (outer.values() if isinstance(outer, dict) else outer))
        level = [inner for inner in held if isinstance(inner, dict | list)]
        if not level:
            return False
    return True


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _size_bytes(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _tail(path: Path, size_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size_bytes))
            return file.read()
    except OSError:
        return b""


def _last_lines(log: Path) -> list[str]:
    lines = _tail(log, LAST_LINES * MAX_LINE_BYTES).removesuffix(b"\n").split(b"\n")[-LAST_LINES:]
    return [line[:LAST_LINE_CHARACTERS].decode(errors="replace") for line in lines] if lines != [b""] else []


def _last_failure(events: bytes) -> Json | None:
    lines = EventLines()
    lines.feed(events[: events.rfind(b"\n") + 1])
    return lines.failure


def supervise(run_dir: Path, ready: Ready | None = None, started: Callable[[], None] = lambda: None) -> None:
    """Run a run directory, whose lock this process holds, to its `exit.json`.

    Args:
        run_dir: Nothing ran in it yet.
        ready: A worker that waits for a run.
        started: Called once `started.json` is there, before the run is given to anyone.
    """
    try:
        write_json(run_dir / "started.json", {"schema": SCHEMA, "started_at": _now()})
        started()
        fields = Supervisor(run_dir, json.loads((run_dir / "job.json").read_bytes())).run(ready)
    except Exception as error:  # noqa: BLE001  the process ends here, and the run must end with it, saying why
        traceback.print_exc()
        failure = failure_of({"type": type(error).__name__, "message": f"the run's supervisor failed: {error}"})
        kill_marked(str(read_json(run_dir / "job.json").get("cookie")))
        fields = {"outcome": "failed", "exit_code": None, "signal": None, "failure": failure}
    write_exit(run_dir, fields)


def take_lock(alive: int) -> None:
    """Make sure that this process holds the lock of its run, and that none of its children does.

    Raises:
        BlockingIOError: Another process does.
    """
    os.set_inheritable(alive, False)  # noqa: FBT003  has no keyword
    fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)


def main() -> int:
    """Hold the lock, run or bury, write `exit.json`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--alive-fd", type=int, required=True)
    parser.add_argument("--lost", action="store_true")
    options = parser.parse_args()
    run_dir: Path = options.run_dir.resolve()
    take_lock(options.alive_fd)
    if (run_dir / "exit.json").exists():
        return 0
    if options.lost:
        write_exit(run_dir, bury(run_dir, read_json(run_dir / "job.json")))
    else:
        supervise(run_dir)
    return 0


if __name__ == "__main__":
    sys.exit(main())
