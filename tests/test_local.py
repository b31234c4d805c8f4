"""The embedded server as scripts find it: real server processes, each in a state folder of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import fcntl
import http.server
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from finetuner import local
from finetuner.aio.client import AsyncClient
from finetuner.api import embedded
from finetuner.errors import MissingExtra, ServerStartFailed, ServerTooOld, ServerUnavailable, StateCorrupt, StorageFull
from tests.docs.blocks import ROOT

IDLE_JOB = json.dumps([sys.executable, "-c", "import sys; sys.stdin.read()"])


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder in which no server runs yet; one that runs in the end is stopped."""
    monkeypatch.setenv("FINETUNER_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("FINETUNER_JOB_ARGV", IDLE_JOB)
    root = tmp_path / "state" / embedded.STATE_VERSION
    yield root
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FINETUNER_STATE_DIR", str(tmp_path / "state"))
        local.stop_server()


@attrs.frozen
class Stranger:
    """Another program on a loopback port, and all that it was sent."""

    url: str
    heard: list[str]


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    heard: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            heard.append(f"{self.requestline}\n{self.headers}")
            body = json.dumps({"status": "ok", "version": "9", "api_min": 1, "api_max": 1, "instance": "x"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    for method in ("GET", "POST"):
        setattr(Handler, f"do_{method}", Handler.answer)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Stranger(f"http://127.0.0.1:{server.server_port}", heard)
    server.shutdown()
    server.server_close()
    thread.join()


def _write_file(root: Path, url: str) -> None:
    root.mkdir(parents=True)
    said = embedded.ServerFile(url=url, token="the-secret-token", version="1.0.0", instance="real")
    (root / embedded.FILE_NAME).write_bytes(said.dumps())
    (root / embedded.LOCK_NAME).touch()


def test_a_server_is_started_once_found_again_and_stopped(root: Path) -> None:
    assert local.find_server() is None
    first = local.ensure_server()
    assert local.ensure_server() == first == local.find_server()
    assert first.token not in repr(first)
    assert (root / embedded.FILE_NAME).stat().st_mode & 0o777 == 0o600
    assert local.stop_server()
    assert not (root / embedded.FILE_NAME).exists()
    assert local.find_server() is None
    assert not local.stop_server()


def test_a_server_is_current_until_it_ends_or_another_takes_its_place(root: Path) -> None:
    first = local.ensure_server()
    assert local.is_current(first)
    local.stop_server()
    assert not local.is_current(first)
    second = local.ensure_server()
    assert local.is_current(second)
    assert not local.is_current(first)


def test_many_scripts_at_once_start_one_server(root: Path) -> None:
    script = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from finetuner import local\n"
        "with ThreadPoolExecutor(5) as pool:\n"
        "    for future in [pool.submit(local.ensure_server) for _ in range(5)]:\n"
        "        print(future.result().instance)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}

    def one(_: int) -> list[str]:
        ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, check=False)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.split()

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        instances = [instance for found in pool.map(one, range(4)) for instance in found]
    assert len(instances) == 20
    assert len(set(instances)) == 1
    log = (root / embedded.LOG_NAME).read_text()
    assert log.count('"server listens"') == 1
    assert log.count("could not start") == 0


def test_a_stranger_on_the_port_of_a_dead_server_is_never_asked(root: Path, stranger: Stranger) -> None:
    _write_file(root, stranger.url)
    assert local.find_server() is None
    server = local.ensure_server()
    assert server.url != stranger.url
    assert stranger.heard == []


def test_a_stranger_is_never_sent_the_token_even_while_the_lock_is_held(root: Path, stranger: Stranger) -> None:
    _write_file(root, stranger.url)
    with (root / embedded.LOCK_NAME).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert local.find_server() is None
        with pytest.raises(ServerUnavailable, match="does not answer"):
            local.ensure_server(timeout_s=0.2)
        with pytest.raises(ServerUnavailable, match="does not answer"):
            local.stop_server(timeout_s=0.2)
    assert stranger.heard
    assert not any("the-secret-token" in said or "Authorization" in said for said in stranger.heard)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"url": 1}', b"\xff\xfe", b'{"url": "http://127.0.0.1:1"}'])
def test_a_torn_file_is_no_server(root: Path, content: bytes) -> None:
    _write_file(root, "http://127.0.0.1:1")
    (root / embedded.FILE_NAME).write_bytes(content)
    with (root / embedded.LOCK_NAME).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert local.find_server() is None


def test_a_newer_client_replaces_the_server_and_an_older_one_uses_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = local.ensure_server()
    with monkeypatch.context() as patch:
        patch.setattr(embedded, "package_version", lambda: "0.0.0")
        assert local.ensure_server() == first
    with monkeypatch.context() as patch:
        patch.setattr(local, "API_MIN", 98)
        patch.setattr(local, "API_VERSION", 99)
        assert local.find_server() is None
        with pytest.raises(ServerTooOld, match="does not speak"):
            local.ensure_server()
    with monkeypatch.context() as patch:
        patch.setattr(embedded, "package_version", lambda: "999.0")
        assert local.ensure_server().instance != first.instance
    assert (root / embedded.LOG_NAME).read_text().count('"server stopped"') == 1


@pytest.mark.parametrize(
    ("version", "other"),
    [("1.0.0", "1.0.0.dev0"), ("1.10.0", "1.9.2"), ("1.0.0rc1", "1.0.0b2"), ("1.0.0.post1", "1.0.0"), ("1.0.1", "1")],
)
def test_versions_are_ordered(version: str, other: str) -> None:
    assert embedded.is_newer(version, other)
    assert not embedded.is_newer(other, version)
    assert not embedded.is_newer(version, version)


def test_a_missing_package_is_named_before_anything_is_made(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FINETUNER_JOB_ARGV")
    monkeypatch.setattr(local, "find_spec", lambda name: None if name == "torch" else name)
    with pytest.raises(MissingExtra, match=r'\(torch\): run `pip install "finetuner\[local\]"`'):
        local.ensure_server()
    assert not (root / "finetuner.db").exists()


def test_a_state_folder_that_is_a_file_is_refused(root: Path) -> None:
    root.parent.write_text("not a folder")
    with pytest.raises(StateCorrupt, match="FINETUNER_STATE_DIR"):
        local.ensure_server()
    assert root.parent.read_text() == "not a folder"
    root.parent.unlink()


def test_a_damaged_database_is_refused_and_left_as_it_is(root: Path) -> None:
    root.mkdir(parents=True)
    (root / "finetuner.db").write_bytes(b"this is no database " * 100)
    with pytest.raises(StateCorrupt, match="left as it is"):
        local.ensure_server()
    assert (root / "finetuner.db").read_bytes() == b"this is no database " * 100
    assert local.find_server() is None


def test_a_full_disk_is_told(root: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The server inherits it: no file of it may grow, which is as a full disk is.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(StorageFull, match="is full"):
            local.ensure_server()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (root / embedded.FILE_NAME).exists()
    assert local.ensure_server() == local.find_server()


@pytest.mark.parametrize("content", [None, b"junk"])
def test_a_server_whose_file_was_lost_says_again_where_it_is(root: Path, content: bytes | None) -> None:
    first = local.ensure_server()
    file = root / embedded.FILE_NAME
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    assert local.ensure_server() == first
    assert local.stop_server()
    assert not file.exists()


def test_a_server_that_does_not_answer_is_named_within_the_time_that_was_given(root: Path) -> None:
    local.ensure_server()
    pid = int((root / embedded.LOCK_NAME).read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(ServerUnavailable, match=f"process {pid}, and does not answer"):
            local.ensure_server(timeout_s=0.5)
        client = AsyncClient(timeout_s=1)
        with pytest.raises(ServerUnavailable, match=f"process {pid}, and does not answer"):
            asyncio.run(client.list_runs())
        (root / embedded.LOCK_NAME).write_text("")
        with pytest.raises(ServerUnavailable, match="fuser"):
            local.ensure_server(timeout_s=0.1)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert local.find_server() is not None


KILLED = """
import os, pathlib, signal, sys
if "finetuner.server" in sys.orig_argv:
    starts = pathlib.Path(__file__).with_name("starts")
    count = starts.stat().st_size if starts.exists() else 0
    starts.write_bytes(bytes(count + 1))
    if count < int(os.environ["KILLS"]):
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_server_that_is_killed_while_it_starts_is_started_again_a_few_times(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(KILLED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("KILLS", "99")
    with pytest.raises(ServerStartFailed, match="signal 9 ended it each time"):
        local.ensure_server()
    assert (tmp_path / "starts").stat().st_size == 4
    monkeypatch.setenv("KILLS", "6")
    assert local.ensure_server() == local.find_server()
    assert (tmp_path / "starts").stat().st_size == 7


def test_a_server_that_ends_at_once_shows_its_last_lines(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNER_JOB_ARGV", "no JSON")
    with pytest.raises(ServerStartFailed, match="FINETUNER_JOB_ARGV must be a JSON list") as caught:
        local.ensure_server()
    assert any("FINETUNER_JOB_ARGV" in line for line in caught.value.log)
    assert local.log_lines(1)
    assert local.log_lines(0) == []
