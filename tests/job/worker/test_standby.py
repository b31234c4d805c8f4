"""The worker's side of waiting: when it takes a run, and when it leaves it to another."""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from finetuner.job.worker.standby import Waiting
from tests.rundir_support import PATIENCE_S


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[socket.socket]:
    """The supervisor's end of the socket that the environment names."""
    ours, its = socket.socketpair()
    monkeypatch.setenv("FINETUNER_STANDBY_FD", str(its.detach()))
    monkeypatch.setenv("FINETUNER_RUN_DIR", "")
    monkeypatch.chdir(tmp_path)
    with ours:
        yield ours


def never() -> None:
    raise AssertionError("the run did not come before the libraries were loaded")


def give(supervisor: socket.socket, run_dir: Path, cwd: Path) -> None:
    supervisor.sendall(json.dumps({"run_dir": str(run_dir), "cwd": str(cwd)}).encode() + b"\n")


def test_it_goes_to_the_run_and_says_so(supervisor: socket.socket, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    waiting = Waiting(never)
    assert "FINETUNER_STANDBY_FD" not in os.environ

    def answer() -> bytes:
        said = supervisor.recv(100)
        give(supervisor, tmp_path / "run", folder)
        return said

    with ThreadPoolExecutor(1) as threads:
        said = threads.submit(answer)
        assert waiting.run_dir() == tmp_path / "run"
    assert said.result() == b"ready\n"
    assert not waiting.was_early
    assert supervisor.recv(100) == b"taken\n"
    assert supervisor.recv(100) == b""
    assert Path.cwd() == folder
    assert os.environ["FINETUNER_RUN_DIR"] == str(tmp_path / "run")


def test_a_run_that_comes_before_the_libraries_are_loaded_is_told_of_at_once(
    supervisor: socket.socket, tmp_path: Path
) -> None:
    told = threading.Event()
    waiting = Waiting(told.set)
    give(supervisor, tmp_path / "run", tmp_path)
    assert told.wait(PATIENCE_S)
    assert waiting.was_early
    assert waiting.run_dir() == tmp_path / "run"
    assert supervisor.recv(100) == b"ready\ntaken\n"


def test_without_a_run_it_is_over(supervisor: socket.socket) -> None:
    supervisor.shutdown(socket.SHUT_WR)
    assert Waiting(never).run_dir() is None
    assert supervisor.recv(100) == b"ready\n"


def test_a_folder_that_is_not_there_is_left_to_another(supervisor: socket.socket, tmp_path: Path) -> None:
    give(supervisor, tmp_path / "run", tmp_path / "none")
    assert Waiting(lambda: None).run_dir() is None
    assert supervisor.recv(100) == b"ready\n"


@pytest.mark.parametrize("changed", ["site-packages/module.py", "site-packages"])
def test_what_it_loaded_must_not_have_changed(
    supervisor: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    installed = tmp_path / "site-packages"
    installed.mkdir()
    (installed / "module.py").write_text("")
    monkeypatch.syspath_prepend(str(installed))
    monkeypatch.delitem(sys.modules, "module", raising=False)
    importlib.import_module("module")

    def change() -> None:
        assert supervisor.recv(100) == b"ready\n"
        os.utime(tmp_path / changed, ns=(1, 1))
        give(supervisor, tmp_path / "run", tmp_path)

    with ThreadPoolExecutor(1) as threads:
        given = threads.submit(change)
        assert Waiting(never).run_dir() is None
        given.result()
    assert supervisor.recv(100) == b""
