"""Runs in a real notebook's kernel: what cells show, what ends them, and what the kernel completes."""

from __future__ import annotations

import json
import os
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from finetuner.sync import Client, Run
from tests.aio.conftest import Home
from tests.portal.scripts import LIMIT_S, ROOT
from tests.sync.conftest import Submit

Message = dict[str, Any]


@pytest.fixture(scope="module")
def kernel(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelManager]:
    manager = KernelManager(kernel_name="python3")
    ipython = str(tmp_path_factory.mktemp("ipython"))
    manager.start_kernel(env={**os.environ, "PYTHONPATH": str(ROOT), "IPYTHONDIR": ipython})
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def notebook(kernel: KernelManager) -> Iterator[BlockingKernelClient]:
    connected = kernel.client()
    connected.start_channels()
    connected.wait_for_ready(timeout=LIMIT_S)
    list(messages(connected, connected.execute("import asyncio, finetuner")))
    yield connected
    connected.stop_channels()


@pytest.fixture(scope="module")
def valued(home: Home) -> Run:
    """Give a run with metrics and a series."""
    during = [{"kind": "metrics", "stage": "during", "step": at, "values": {"val_loss": 1 / at}} for at in (1, 2)]
    after = {"kind": "metrics", "stage": "after", "values": {"recall_at_1": 0.75}}
    data = [(json.dumps({"events": [*during, after]}), "x")]
    with Client() as client:
        return client.fit(
            "all-minilm-l6-v2", data, run_name="valued", loss="MultipleNegativesRankingLoss", progress=False
        ).wait(LIMIT_S)


def messages(notebook: BlockingKernelClient, asked: str) -> Iterator[Message]:
    """Give what a cell shows and prints, until it has ended."""
    while True:
        try:
            message = notebook.get_iopub_msg(timeout=LIMIT_S)
        except queue.Empty:
            pytest.fail("the kernel says nothing")
        if message["parent_header"].get("msg_id") != asked:
            continue
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            return
        if message["msg_type"] not in {"status", "execute_input"}:
            yield message


def html(message: Message) -> str:
    return str(message["content"].get("data", {}).get("text/html", ""))


def test_a_cell_shows_a_run_until_it_has_ended(notebook: BlockingKernelClient, submit: Submit, tmp_path: Path) -> None:
    submit("shown", lines=3, gate=str(tmp_path / "gate"))
    shown: list[Message] = []
    for message in messages(notebook, notebook.execute("finetuner.get_run('shown').show()")):
        shown.append(message)
        if "STARTED" in html(message):
            (tmp_path / "gate").touch()
    assert {message["msg_type"] for message in shown[1:]} == {"update_display_data"}
    assert shown[0]["msg_type"] == "display_data"
    ids = {message["content"]["transient"]["display_id"] for message in shown}
    assert len(ids) == 1
    assert "FINISHED" in html(shown[-1])
    assert "shown" in html(shown[-1])
    assert shown[-1]["content"]["data"]["text/plain"].startswith("shown FINISHED")


@pytest.mark.parametrize(
    ("before", "name", "ending"),
    [("", "left", "KeyboardInterrupt"), ("await asyncio.sleep(0)\n", "left-by-await", "CancelledError")],
)
def test_an_interrupt_ends_the_cell_at_once_and_the_run_goes_on(
    kernel: KernelManager,
    notebook: BlockingKernelClient,
    submit: Submit,
    tmp_path: Path,
    before: str,
    name: str,
    ending: str,
) -> None:
    run = submit(name, gate=str(tmp_path / "gate"))
    shown: list[Message] = []
    is_interrupted = False
    for message in messages(notebook, notebook.execute(f"{before}finetuner.get_run('{name}').show()")):
        shown.append(message)
        if "STARTED" in html(message) and not is_interrupted:
            is_interrupted = True
            kernel.interrupt_kernel()
    assert "the run goes on" in html(shown[-2])
    assert shown[-1]["content"]["ename"] == ending
    assert shown[-1]["content"]["evalue"].startswith(f"the run goes on: finetuner.get_run('{name}').wait()")
    assert run.status() == "STARTED"
    (tmp_path / "gate").touch()
    run.wait(LIMIT_S)


def test_an_async_run_is_shown_by_await_and_by_a_task_while_other_cells_run(
    notebook: BlockingKernelClient, submit: Submit, tmp_path: Path
) -> None:
    submit("awaited", gate=str(tmp_path / "gate"))
    source = """
client = finetuner.AsyncClient()
run = await client.get_run("awaited")
task = asyncio.create_task(run.show())
await asyncio.sleep(0)
"""
    first = notebook.execute(source)
    assert not [one for one in messages(notebook, first) if one["msg_type"] == "error"]
    (tmp_path / "gate").touch()
    second = notebook.execute("await task; await run.show(); await client.aclose(); print(run.info.status)")
    seen: list[Message] = []
    while not seen or seen[-1]["content"].get("text") != "FINISHED\n":
        seen.append(notebook.get_iopub_msg(timeout=LIMIT_S))
    of_task = [one for one in seen if one["parent_header"]["msg_id"] == first and html(one)]
    of_cell = [one for one in seen if one["parent_header"]["msg_id"] == second and html(one)]
    assert "FINISHED" in html(of_task[-1])
    assert "FINISHED" in html(of_cell[-1])


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("finetuner.get_run('valued')", ["valued", "FINISHED"]),
        ("finetuner.list_runs()", ["valued", "FINISHED"]),
        ("finetuner.get_run('valued').metrics()", ["recall_at_1", "0.750"]),
        ("finetuner.get_run('valued').history()", ["val_loss", "<svg"]),
        ("finetuner.get_run('valued').example_results()", ["no examples"]),
        ("finetuner.get_experiment('default')", ["experiment", "default"]),
        ("finetuner.get_run('valued').rerun(dry_run=True)", ["Plan:", "MultipleNegativesRankingLoss"]),
    ],
)
def test_the_value_of_a_cell_is_html(
    notebook: BlockingKernelClient, valued: Run, source: str, words: list[str]
) -> None:
    shown = list(messages(notebook, notebook.execute(source)))
    assert [one["msg_type"] for one in shown] == ["execute_result"], shown
    assert all(word in html(shown[0]) for word in words), html(shown[0])
    assert shown[0]["content"]["data"]["text/plain"]


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("finetuner.list_ru", "list_runs"),
        ("finetuner.Client().fi", "fit"),
        ("finetuner.Client().get_run('x').sho", "show"),
        ("finetuner.Client().get_run('x').info.stat", "status"),
        ("finetuner.Client().wait_all([], time", "timeout_s="),
    ],
)
def test_what_is_typed_is_completed(notebook: BlockingKernelClient, typed: str, completed: str) -> None:
    answer = notebook.complete(typed, len(typed), reply=True, timeout=LIMIT_S)
    assert any(match.endswith(completed) for match in answer["content"]["matches"]), answer["content"]
