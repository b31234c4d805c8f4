"""What people do to a client that nobody meant: each ends at once, with words, and nothing hangs."""

from __future__ import annotations

import multiprocessing
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import finetuner
from finetuner import errors
from finetuner.api.selecting import RunFilter
from finetuner.callback import EarlyStopping, EvaluationCallback
from finetuner.sync import Client
from tests.aio.conftest import Home
from tests.portal.scripts import LIMIT_S, interrupt_at, run, started
from tests.sync.conftest import Submit
from tests.sync.looking import wait_for


def test_a_stream_read_by_several_threads_ends_for_all(home: Home, submit: Submit) -> None:
    made = submit("shared-stream", lines=500).wait(LIMIT_S)
    stream = made.stream_logs()
    found: list[str] = []

    def read() -> None:
        for line in stream:
            found.append(line)  # noqa: PERF402 - what came before an error counts too

    with ThreadPoolExecutor(5) as threads:
        ended: list[Future[None]] = [threads.submit(read) for _ in range(5)]
        told = [one.exception(LIMIT_S) for one in ended]
    assert all(error is None or "another thread waits for the next item" in str(error) for error in told)
    assert None in told
    assert sorted(found) == sorted(home.log_lines(made))


def test_a_stream_that_another_thread_closes_ends(home: Home, submit: Submit, tmp_path: Path) -> None:
    made = submit("closed-elsewhere", gate=str(tmp_path / "gate"))
    stream = made.stream_logs()
    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(list, stream)
        while not stream._reading.locked():
            pass
        stream.close()
        assert isinstance(reading.result(LIMIT_S), list)
    (tmp_path / "gate").touch()


def test_a_client_that_is_closed_ends_what_waits(home: Home, submit: Submit, tmp_path: Path) -> None:
    made = submit("waited-for", gate=str(tmp_path / "gate"))
    client = Client()
    mine = client.get_run("waited-for")
    with ThreadPoolExecutor(3) as threads:
        waiting: list[Future[Any]] = [
            threads.submit(mine.wait),
            threads.submit(client.wait_all, [mine]),
            threads.submit(list, mine.stream_logs()),
        ]
        while len(client._async._transport._responses) < 3:
            pass
        client.close()
        for one in waiting:
            error = one.exception(LIMIT_S)
            assert isinstance(error, RuntimeError), error
            assert "this client is closed" in str(error)
    (tmp_path / "gate").touch()
    made.wait(LIMIT_S)


def test_ctrl_c_ends_a_sync_call_in_a_loop_that_asyncio_runs(home: Home, submit: Submit, tmp_path: Path) -> None:
    submit("in-a-loop", gate=str(tmp_path / "gate"))
    source = """
    import warnings, finetuner
    warnings.simplefilter("ignore")

    async def main():
        run = finetuner.get_run("in-a-loop")
        say("waits")
        run.wait()

    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        say("interrupted")
    """
    with started(source) as process:
        interrupt_at(process, "waits")
        output, shown = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, output, shown) == (0, "interrupted\n", "")
    (tmp_path / "gate").touch()


def test_an_interrupt_that_nobody_catches_ends_the_program_as_one(home: Home) -> None:
    code, _, shown = run("import finetuner\nfinetuner.list_runs(size=1)\nraise KeyboardInterrupt\n")
    assert code in {-2, 130}
    assert shown.endswith("KeyboardInterrupt\n")


def test_daemon_threads_that_wait_at_the_end_print_nothing(home: Home, submit: Submit, tmp_path: Path) -> None:
    submit("left-waiting", gate=str(tmp_path / "gate"))
    source = """
    import finetuner
    run = finetuner.get_run("left-waiting")
    for _ in range(5):
        threading.Thread(target=run.wait, daemon=True).start()
    while len(run._async._client._transport._responses) < 5:
        time.sleep(0.01)
    """
    assert run(source) == (0, "", "")
    (tmp_path / "gate").touch()


def test_a_failure_crosses_processes(home: Home, submit: Submit) -> None:
    submit("fails-far-away", exit=3)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as processes:
        error = processes.submit(wait_for, "fails-far-away").exception(LIMIT_S)
    assert isinstance(error, errors.RunFailed)
    assert (error.run_name, error.failure.exit_code) == ("fails-far-away", 3)


@pytest.mark.parametrize(
    "error",
    [
        errors.RateLimited("too many", retry_after_s=2.0),
        errors.InvalidData("bad", path="a.csv", line=3),
        errors.WaitTimeout("late"),
        errors.MissingExtra("install it"),
        errors.ServerUnavailable("gone", status=503, idempotency_key="k"),
        errors.ArtifactExists("there"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_kind_of_error_is_pickled_as_it_is(error: errors.FinetunerError) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - made here
    assert (type(again), str(again), again.__dict__) == (type(error), str(error), error.__dict__)


def test_a_login_that_fails_changes_nothing(home: Home, client: Client) -> None:
    before = client.host
    with pytest.raises(errors.FinetunerError):
        client.login(host="http://127.0.0.1:9", interactive=False)
    assert client.host == before
    assert isinstance(client.list_runs(), list)
    with pytest.raises(errors.InvalidInput, match="host must be the address of a server"):
        client.login(host="http://a\0b")
    assert client.host == before


@pytest.mark.parametrize("host", ["x" * 5000, "../x", "http://a\0b", "http://" + "x" * 70])
def test_what_can_be_no_host_is_refused(host: str) -> None:
    with pytest.raises(errors.InvalidInput, match="host must be the address of a server"):
        Client(host=host)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"status": 1}, "status must be a text or a list of texts, not 1"),
        ({"status": [None]}, r"status\[0\] must be a text, not None"),
        ({"task": 0}, "task must be a text, not 0"),
        ({"created_after": 0}, "created_after must be a datetime or an ISO 8601 text, not '0'"),
        ({"metric": [1]}, r"metric\[0\] must be a text, not 1"),
        ({"tag": "\ud800"}, "tag holds a lone surrogate"),
        ({"name_prefix": "\ud800"}, "name_prefix holds a lone surrogate"),
        ({"status": []}, "status is an empty list, which would mean every run"),
        ({"tag": ()}, "tag is an empty list, which would mean every run"),
        ({"metric": []}, "metric is an empty list, which would mean every run"),
    ],
)
def test_a_filter_of_what_cannot_be_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(errors.InvalidInput, match=said):
        RunFilter(**given)  # type: ignore[arg-type] # what a user may give


LONG = "x" * 5000
PAIRS = [("a", "b"), ("c", "d")]
WRONG: dict[str, tuple[Callable[[Any], object], str]] = {
    "long path": (lambda fit: fit(LONG), "train_data is no path: .* is longer than a name of a file can be"),
    "long eval_data": (lambda fit: fit(PAIRS, eval_data=LONG), "eval_data is no path"),
    "long artifact": (lambda _: finetuner.get_model(LONG), "artifact is no path"),
    "long model": (lambda _: finetuner.build_model(LONG), "can be no model: File name too long"),
    "NUL": (lambda fit: fit(PAIRS, callbacks=[EvaluationCallback("a\0b")]), r"callbacks\[0\].query_data holds a NUL"),
    "None": (lambda fit: fit([None, ("a", "b")]), "row 1: it must be a text, or a tuple of texts, not 'None'"),
    "cell": (lambda fit: fit([("a", None)]), r"row 1: column 2 must be a text, not 'None' \(NoneType\)"),
    "class": (lambda fit: fit(PAIRS, callbacks=[EarlyStopping]), r"Make one: finetuner.callback.EarlyStopping\(...\)"),
    "no zip": (lambda _: finetuner.get_model("./nope.zip"), "there is no file nope.zip"),
    "device": (lambda _: finetuner.build_model("all-minilm-l6-v2", device="tpu9"), "device 'tpu9' cannot be used here"),
    "cos_sim": (lambda _: finetuner.cos_sim([1.0], "x"), "cos_sim takes two vectors of numbers"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_meant_is_refused_with_words(home: Home, wrong: str) -> None:
    def fit(data: Any, **more: Any) -> object:
        loss = "MultipleNegativesRankingLoss"
        return finetuner.fit("all-minilm-l6-v2", data, loss=loss, progress=False, dry_run=True, **more)

    call, said = WRONG[wrong]
    with pytest.raises(errors.InvalidInput, match=said):
        call(fit)


def test_a_file_that_is_open_for_writing_is_refused(home: Home, tmp_path: Path) -> None:
    with (
        (tmp_path / "out.csv").open("w") as file,
        pytest.raises(errors.InvalidData, match="the file is not open for reading"),
    ):
        finetuner.fit("all-minilm-l6-v2", file, loss="MultipleNegativesRankingLoss", progress=False)


@pytest.mark.parametrize("name", ["timeout_s", "wait"])
def test_no_wait_is_infinite_by_a_number(home: Home, submit: Submit, name: str) -> None:
    made = submit()
    calls = {"timeout_s": lambda: Client(timeout_s=float("inf")), "wait": lambda: made.wait(float("inf"))}
    with pytest.raises(errors.InvalidInput, match="timeout_s must be a finite number of seconds, not inf"):
        calls[name]()


def test_the_sockets_of_waits_for_runs_that_were_deleted_are_closed(
    home: Home, client: Client, submit: Submit, tmp_path: Path
) -> None:
    for number in range(5):
        made = submit(f"deleted-{number}", gate=str(tmp_path / "never"))
        done = threading.Event()
        with client.as_completed([made]) as ended:
            thread = threading.Thread(target=lambda made=made, done=done: (made.delete(), done.set()))
            thread.start()
            with pytest.raises(errors.RunDeleted):
                list(ended)
            thread.join()
    pool = client._async._transport._pools.get(True)
    assert pool is None or not pool.connector._acquired  # type: ignore[union-attr] # an open pool has one
