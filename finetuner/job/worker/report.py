"""What the worker tells: lines for people on stdout, and events for the supervisor on a pipe."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

import orjson

from finetuner.api.types import Phase
from finetuner.errors import Failure

VARIABLE: Final = "FINETUNER_EVENTS_FD"
HEARTBEAT_S: Final = 1.0
"""The longest pause between two progress events."""
_MIN_PAUSE_S: Final = 0.1


class Report:
    """Lines and events of one run.

    The newest progress is told again each second while nothing else is, so that a long step does not look like a
    stalled run. Use it as a context manager.

    Args:
        descriptor: Where events are written; None writes none.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._progress: dict[str, Any] | None = None
        self._sent_at = 0.0
        self._closed = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    @classmethod
    def from_environment(cls) -> Self:
        """Make one that writes to the pipe of the supervisor, where there is one."""
        text = os.environ.pop(VARIABLE, "")
        if not text:
            return cls(None)
        descriptor = int(text)
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - the standard library's signature
        return cls(descriptor)

    def __enter__(self) -> Self:
        self._heart.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._closed.set()
        self._heart.join()

    def say(self, text: str) -> None:
        """Write one line into the log."""
        print(text.replace("\n", " "), flush=True)  # noqa: T201 - the run's log is this process's stdout

    def warn(self, text: str) -> None:
        """Write one line into the log, and as a record that can be filtered by level."""
        self.say(f"warning: {text}")
        self._emit({"kind": "log", "level": "warning", "message": text})

    def progress(
        self,
        *,
        phase: Phase,
        epoch: float | None = None,
        epochs: int | None = None,
        step: int | None = None,
        steps: int | None = None,
        loss: float | None = None,
        examples_per_s: float | None = None,
        left_s: float | None = None,
        is_kept: bool = False,
    ) -> None:
        """Tell how far the run is. Calls that come too fast are merged, but for a new phase and what is to be kept."""
        values: dict[str, Any] = {
            "phase": phase,
            "epoch": epoch,
            "epochs": epochs,
            "step": step,
            "steps": steps,
            "loss": loss,
            "examples_per_s": examples_per_s,
            "left_s": left_s,
        }
        with self._lock:
            is_new_phase = self._progress is None or self._progress["phase"] != phase
            self._progress = values
            is_due = is_new_phase or is_kept or time.monotonic() - self._sent_at >= _MIN_PAUSE_S
            if is_due:
                self._send_progress()

    def metrics(self, stage: str, values: Mapping[str, float], **point: float) -> None:
        """Tell metrics; those of several callbacks are merged by the reader.

        Args:
            stage: `before`, `after`, or `during`: a point of series.
            values: Numbers by name.
            point: `step` and `epoch` of the point.
        """
        self._emit({"kind": "metrics", "stage": stage, "values": dict(values), **point})

    def examples(self, stage: str, values: Sequence[Mapping[str, Any]]) -> None:
        """Tell example results."""
        self._emit({"kind": "examples", "stage": stage, "values": list(values)})

    def failure(self, failure: Failure) -> None:
        """Tell why the run fails."""
        self._emit(
            {
                "kind": "failure",
                "type": failure.type,
                "message": failure.message,
                "hint": failure.hint,
                "traceback": failure.traceback,
            }
        )

    def _beat(self) -> None:
        while not self._closed.wait(HEARTBEAT_S / 4):
            with self._lock:
                if self._progress is not None and time.monotonic() - self._sent_at >= HEARTBEAT_S * 0.75:
                    self._send_progress()

    def _send_progress(self) -> None:
        if self._progress is not None:
            self._sent_at = time.monotonic()
            self._write({"kind": "progress", **self._progress})

    def _emit(self, event: dict[str, Any]) -> None:
        with self._lock:
            self._write(event)

    def _write(self, event: dict[str, Any]) -> None:
        if self._descriptor is None:
            return
        line = memoryview(orjson.dumps({**event, "t": time.time()}) + b"\n")
        with contextlib.suppress(BrokenPipeError):  # the supervisor is gone; the lifeline ends this process
            while line:
                line = line[os.write(self._descriptor, line) :]
