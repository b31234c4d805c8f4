"""The client in whole programs: many threads, processes of multiprocessing, and Ctrl-C at any moment."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from finetuner.sync import Client
from tests.aio.conftest import Home
from tests.portal.scripts import LIMIT_S, run
from tests.sync.conftest import Submit

THREADS = 50


def test_fifty_threads_share_a_client(home: Home, client: Client, submit: Submit) -> None:
    made = submit("shared", lines=300).wait(LIMIT_S)
    whole = home.log_lines(made)
    together = threading.Barrier(THREADS)

    def work(number: int) -> None:
        together.wait(LIMIT_S)
        found = client.get_run("shared")
        assert found.status() == "FINISHED"
        with found.stream_logs() as log:
            assert list(log) == whole
        assert made in client.list_runs()
        with client.as_completed([found], timeout_s=LIMIT_S) as ended:
            assert list(ended) == [made]
        if number % 2:
            next(iter(found.stream_logs()))  # left open: it is closed when collected

    with ThreadPoolExecutor(THREADS) as threads:
        for done in [threads.submit(work, number) for number in range(THREADS)]:
            done.result()


def test_fifty_threads_submit_at_once_and_each_gets_its_run(home: Home, submit: Submit) -> None:
    with ThreadPoolExecutor(THREADS) as threads:
        runs = list(threads.map(lambda number: submit(f"of-thread-{number}", lines=number), range(THREADS)))
    assert [run.name for run in runs] == [f"of-thread-{number}" for number in range(THREADS)]
    assert len({run.id for run in runs}) == THREADS


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing_have_clients_of_their_own(home: Home, submit: Submit, method: str) -> None:
    submit(f"seen-by-{method}").wait(LIMIT_S)
    source = f"""
    import finetuner
    from tests.sync.looking import status_of
    finetuner.list_runs()
    with multiprocessing.get_context("{method}").Pool(3) as pool:
        say(set(pool.map(status_of, ["seen-by-{method}"] * 12)))
    say(finetuner.get_run("seen-by-{method}").status())
    """
    assert run(source) == (0, "{'FINISHED'}\nFINISHED\n", "")


def test_ctrl_c_at_any_moment_leaves_a_client_that_works_and_nothing_open(
    home: Home, submit: Submit, tmp_path: Path
) -> None:
    made = submit("interrupted", lines=2_000, gate=str(tmp_path / "gate"))
    source = """
    import gc, random, psutil
    from finetuner.sync import Client
    client = Client()
    run = client.get_run("interrupted")

    def work():
        while True:
            run.status()
            client.list_runs()
            for _ in zip(range(500), run.stream_logs()):
                pass
            with client.as_completed([run]) as ended:
                next(ended)

    draw = random.Random(int(sys.argv[1]))
    caught = 0
    while caught < 30:
        timer = threading.Timer(draw.random() / 10, os.kill, (os.getpid(), signal.SIGINT))
        try:
            timer.start()
            work()
        except KeyboardInterrupt:
            caught += 1
    assert run.status() == "STARTED"
    assert run in client.list_runs()
    gc.collect()
    run.status()
    for _ in range(200):
        streams = [one for one in psutil.Process().net_connections() if one.status == "ESTABLISHED"]
        if len(streams) <= 1:
            break
        time.sleep(0.05)
    say(len(streams) <= 1, threading.active_count() <= 4, threading.enumerate() if threading.active_count() > 4 else "")
    """
    try:
        code, output, errors = run(source, "5")
    finally:
        (tmp_path / "gate").touch()
    assert (code, output.strip(), errors) == (0, "True True", "")
    made.wait(LIMIT_S)
