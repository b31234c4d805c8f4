"""A notebook's kernel, whose event loop runs in the thread that runs the cells."""

from __future__ import annotations

import os
import queue
from collections.abc import Iterator

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from tests.portal.scripts import LIMIT_S, PRELUDE, ROOT


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelManager]:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(env={**os.environ, "PYTHONPATH": str(ROOT)})
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.fixture
def client(kernel: KernelManager) -> Iterator[BlockingKernelClient]:
    connected = kernel.client()
    connected.start_channels()
    connected.wait_for_ready(timeout=LIMIT_S)
    yield connected
    connected.stop_channels()


def outputs(client: BlockingKernelClient, asked: str) -> Iterator[str]:
    """Give the lines that a cell prints, and the names of its errors."""
    begun = ""
    while True:
        try:
            message = client.get_iopub_msg(timeout=LIMIT_S)
        except queue.Empty:
            pytest.fail("the kernel says nothing")
        if message["parent_header"].get("msg_id") != asked:
            continue
        content = message["content"]
        if message["msg_type"] == "stream":
            *lines, begun = (begun + str(content["text"])).split("\n")  # a line may come in parts
            yield from lines
        elif message["msg_type"] == "error":
            yield str(content["ename"])
        elif content.get("execution_state") == "idle":
            return


def cell(client: BlockingKernelClient, source: str) -> list[str]:
    return list(outputs(client, client.execute(source)))


def test_cells_call_without_a_warning_and_an_interrupt_ends_the_wait(
    kernel: KernelManager, client: BlockingKernelClient
) -> None:
    assert cell(client, PRELUDE) == []
    assert cell(client, "asyncio.get_running_loop() and say(portal.call(double, 21))") == ["42"]
    said = outputs(client, client.execute("portal.call(wait_for_ever)"))
    assert next(said) == "waiting"
    kernel.interrupt_kernel()
    assert list(said) == ["cleaned up", "KeyboardInterrupt"]
    assert cell(client, "say(portal.call(double, 4))") == ["8"]


def test_an_interrupt_ends_the_wait_of_a_cell_that_awaits_too(
    kernel: KernelManager, client: BlockingKernelClient
) -> None:
    assert cell(client, PRELUDE) == []
    said = outputs(client, client.execute("await asyncio.sleep(0)\nportal.call(wait_for_ever)"))
    assert next(said) == "waiting"
    kernel.interrupt_kernel()
    assert list(said) == ["cleaned up", "CancelledError"]
    assert cell(client, "await asyncio.sleep(0)\nsay(portal.call(double, 4))") == ["8"]


def test_a_list_of_runs_is_displayed_as_html_and_as_text(client: BlockingKernelClient) -> None:
    source = """
import datetime as dt
from finetuner.aio.notebook import RunList
from finetuner.aio.run import AsyncRun
RunList([AsyncRun(None, {"id": "a" * 24, "seq": 1, "name": "calm-curie", "experiment_name": "default",
    "status": "FAILED", "details": "<b>why</b>", "artifact_id": "b" * 24, "created_at": "2026-01-01T00:00:00Z"})])
"""
    asked = client.execute(source)
    while True:
        message = client.get_iopub_msg(timeout=LIMIT_S)
        if message["parent_header"].get("msg_id") == asked and message["msg_type"] in {"execute_result", "error"}:
            break
    data = message["content"]["data"]
    assert "calm-curie" in data["text/html"]
    assert "&lt;b&gt;why&lt;/b&gt;" in data["text/html"]
    assert data["text/plain"].startswith("[<AsyncRun calm-curie FAILED")
