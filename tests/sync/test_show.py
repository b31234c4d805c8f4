"""`run.show()` of a plain script, on a real terminal and into a pipe."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.aio.conftest import Home
from tests.portal.scripts import LIMIT_S, ROOT, run
from tests.sync.conftest import Submit

SHOW = "import finetuner; finetuner.get_run({!r}).show()"
STEPS = [{"kind": "progress", "phase": "training", "step": at, "steps": 9, "loss": 0.5, "left_s": 7} for at in (1, 4)]


@contextmanager
def on_terminal(code: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run some code on a terminal; give it with the descriptor that reads what the terminal shows."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", "TERM": "xterm-256color"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait(LIMIT_S)
        os.close(ours)


def chunks(terminal: int) -> Iterator[str]:
    while True:
        try:
            yield os.read(terminal, 65_536).decode("utf-8", "replace")
        except OSError:  # the last process has closed its end
            return


def until(terminal: int, *words: str) -> str:
    shown = ""
    for chunk in chunks(terminal):
        shown += chunk
        if all(word in shown for word in words):
            return shown
    raise AssertionError(shown)


def test_a_terminal_has_the_log_over_a_bar_and_then_how_the_run_ended(
    home: Home, submit: Submit, tmp_path: Path
) -> None:
    submit("on-a-terminal", lines=3, events=STEPS, gate=str(tmp_path / "gate"))
    with on_terminal(SHOW.format("on-a-terminal")) as (process, terminal):
        until(terminal, "4/9 · loss 0.50 · 7 s left", "2 ")
        (tmp_path / "gate").touch()
        shown = until(terminal, "on-a-terminal FINISHED", "id ")
        assert process.wait(LIMIT_S) == 0
    assert "4/9" not in shown.rpartition("on-a-terminal FINISHED")[2]


def test_ctrl_c_on_a_terminal_leaves_the_run_and_says_so(home: Home, submit: Submit, tmp_path: Path) -> None:
    made = submit("left-alone", events=STEPS, gate=str(tmp_path / "gate"))
    with on_terminal(SHOW.format("left-alone")) as (process, terminal):
        until(terminal, "4/9")
        process.send_signal(signal.SIGINT)
        shown = until(terminal, "KeyboardInterrupt: the run goes on: finetuner.get_run('left-alone')")
        process.wait(LIMIT_S)
    assert "left-alone STARTED" in shown
    assert "not looked at any longer; the run goes on" in shown
    (tmp_path / "gate").touch()
    made.wait(LIMIT_S)


def test_a_pipe_gets_plain_lines(home: Home, submit: Submit) -> None:
    submit("into-a-pipe", lines=3, events=STEPS)
    code, output, errors = run(SHOW.format("into-a-pipe"))
    assert (code, errors) == (0, "")
    assert "\x1b" not in output
    assert "into-a-pipe FINISHED\n" in output
