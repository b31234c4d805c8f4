"""A progress bar for uploads and downloads, on a terminal alone."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.text import Text

from finetuner.aio.console import SizedConsole


class Bar:
    """A bar of bytes on stderr.

    Args:
        label: What is moved.
        total_bytes: How much there is.
        show: None shows it where stderr is a terminal.
    """

    def __init__(self, label: str, total_bytes: int, *, show: bool | None) -> None:
        is_shown = sys.stderr.isatty() if show is None else show
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=SizedConsole(stderr=True),
            disable=not is_shown,
            transient=True,
        )
        self._task = self._progress.add_task(Text(label).markup, total=total_bytes)

    def set(self, done_bytes: int) -> None:
        """Show how much has been moved."""
        self._progress.update(self._task, completed=done_bytes)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
