"""What of the sync client is a plain program's own: threads, forks, Ctrl-C, exit; the rest is in `tests/behaviours`."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from filelock import FileLock

from finetuner.aio.client import AsyncClient
from finetuner.api.types import RunStatus
from finetuner.sync import Client, functions
from tests.aio.conftest import Home
from tests.portal.scripts import LIMIT_S, interrupt_at, run, started
from tests.sync.conftest import Submit


def test_a_run_outlives_the_client_that_gave_it(home: Home, submit: Submit) -> None:
    name = submit(lines=1).name
    found = Client().get_run(name)
    gc.collect()
    assert found.wait(LIMIT_S).name == name


def test_the_functions_share_a_client_until_it_is_closed(home: Home, submit: Submit) -> None:
    name = submit(lines=1).name
    functions.login()
    assert functions.get_run(name).wait(LIMIT_S).name == name
    functions.close()
    assert functions.get_run(name).name == name
    functions.close()
    functions.close()


def test_a_closed_client_says_so(home: Home) -> None:
    closed = Client()
    closed.list_runs()
    closed.close()
    with pytest.raises(RuntimeError, match="closed"):
        closed.list_runs()


def test_a_forked_child_and_its_parent_talk_to_the_server_by_connections_of_their_own(
    home: Home, submit: Submit, tmp_path: Path
) -> None:
    made = submit(lines=50, gate=str(tmp_path / "gate"))
    source = """
    from finetuner.sync import Client
    client = Client()
    found = client.get_run_by_id(sys.argv[1])
    log = found.stream_logs()
    next(log)
    child = os.fork()
    if child == 0:
        for _ in range(20):
            found.status()
        assert sum(1 for _ in zip(range(50), found.stream_logs())) == 50
        client.close()
        sys.exit(0)
    for _ in range(20):
        found.status()
    code = os.waitpid(child, 0)[1]
    open(sys.argv[2], "w").close()
    say(code, 1 + sum(1 for _ in log), found.wait(60).info.status, client.get_run_by_id(sys.argv[1]) == found)
    """
    code, output, shown = run(source, made.id, str(tmp_path / "gate"))
    assert (code, output, shown) == (0, "0 50 FINISHED True\n", "")


def test_ctrl_c_ends_a_wait_and_not_the_run(home: Home, submit: Submit, tmp_path: Path) -> None:
    made = submit(gate=str(tmp_path / "gate"))
    source = """
    import finetuner.sync
    run = finetuner.sync.get_run_by_id(sys.argv[1])
    try:
        say("waits")
        run.wait()
    except KeyboardInterrupt:
        say(run.status())
    """
    while made.status() is not RunStatus.STARTED:
        made.refresh()
    with started(source, made.id) as process:
        interrupt_at(process, "waits")
        output, shown = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, output, shown) == (0, "STARTED\n", "")
    (tmp_path / "gate").touch()
    made.wait(LIMIT_S)


WAITS = """
from finetuner.sync import Client

def tell_when_main_waits_in(name):
    waiting = set()
    while not {name, "receive"} <= waiting:
        frame = sys._current_frames()[threading.main_thread().ident]
        waiting = set()
        while frame is not None:
            waiting.add(frame.f_code.co_name)
            frame = frame.f_back
        time.sleep(0.01)
    say("waits")

client = Client()
run = client.get_run("held")
threading.Thread(target=tell_when_main_waits_in, args=[sys.argv[1]], daemon=True).start()
"""


@pytest.mark.parametrize(
    ("waits", "where", "words"),
    [
        (
            "run.wait()",
            "wait",
            "the run goes on: finetuner.get_run('held').wait() waits for it again, and .cancel() stops it",
        ),
        (
            "client.wait_all([run])",
            "wait_all",
            "nothing was stopped: the runs go on, and can be waited for again",
        ),
        (
            "list(client.as_completed([run]))",
            "_fetch",
            "nothing was stopped: 1 of the runs go on, and can be waited for again",
        ),
        (
            "list(run.stream_logs())",
            "_fetch",
            (
                "the log of run 'held' was read up to byte 0, and the run is left as it is: "
                "run.stream_logs(after=0) reads on"
            ),
        ),
    ],
)
def test_ctrl_c_says_what_goes_on_and_how_to_go_on(
    home: Home, client: Client, submit: Submit, tmp_path: Path, waits: str, where: str, words: str
) -> None:
    made = submit("held", gate=str(tmp_path / "gate"))
    try:
        with started(WAITS + waits, where) as process:
            interrupt_at(process, "waits")
            _, shown = process.communicate(timeout=LIMIT_S)
    finally:
        (tmp_path / "gate").touch()
        client.delete_run(made.wait(LIMIT_S).name)
    assert shown.splitlines()[-1] == f"KeyboardInterrupt: {words}"


def test_a_program_ends_though_its_log_waits_for_a_server_to_start(home: Home, submit: Submit, tmp_path: Path) -> None:
    made = submit(lines=5, gate=str(tmp_path / "gate"))
    source = """
    import finetuner.sync
    log = finetuner.sync.get_run_by_id(sys.argv[1]).stream_logs()
    next(log)
    say("reads")
    while not any(thread.name == "finetuner call" for thread in threading.enumerate()):
        time.sleep(0.01)
    """
    with started(source, made.id) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "reads\n"
        with FileLock(home.state / "v1" / "start.lock"):
            home.kill_server()
            output, shown = process.communicate(timeout=LIMIT_S / 2)
    assert (process.returncode, output, shown) == (0, "", "")
    (tmp_path / "gate").touch()
    made.wait(LIMIT_S)


@pytest.mark.parametrize("ending", ["pass", "sys.exit(0)", "del log, run", "finetuner.sync.close()"])
def test_a_program_that_ends_with_a_log_open_prints_nothing(
    home: Home, submit: Submit, tmp_path: Path, ending: str
) -> None:
    made = submit(lines=5, gate=str(tmp_path / "gate"))
    source = f"""
    import finetuner.sync
    run = finetuner.sync.get_run_by_id(sys.argv[1])
    log = run.stream_logs()
    next(log)
    {ending}
    """
    assert run(source, made.id) == (0, "", "")
    (tmp_path / "gate").touch()


def test_the_async_client_of_a_dropped_client_can_be_collected(home: Home) -> None:
    before = sum(isinstance(one, AsyncClient) for one in gc.get_objects())
    for _ in range(3):
        Client().list_models()
    gc.collect()
    assert sum(isinstance(one, AsyncClient) for one in gc.get_objects()) <= before


DROP = """
import gc, psutil
from finetuner.errors import NotFound
from finetuner.sync import Client

class Holder: pass

gc.disable()
host = Client()
host.login()
address, token = host.host, host.get_token()
host.close()
for _ in range(3):
    holder = Holder()
    holder.me = holder
    holder.client = Client(address, token)
    holder.client.list_runs()
    try:
        Client(address, token).get_run("nobody")
    except NotFound as error:
        holder.error = error
    error = holder
    del holder
del error
port = int(address.rpartition(":")[2])

def sockets():
    found = psutil.Process().net_connections("tcp")
    return [one for one in found if one.raddr and one.raddr.port == port and one.status == "ESTABLISHED"]

before = len(sockets())
gc.collect()
deadline = time.monotonic() + 30
while sockets() and time.monotonic() < deadline:
    portal.call(double, 1)
say(before, len(sockets()))
"""


def test_clients_collected_in_a_cycle_close_their_sockets_and_say_nothing(home: Home) -> None:
    code, output, errors = run(DROP)
    assert (code, errors) == (0, "")
    before, after = output.split()
    assert (int(before) >= 3, after) == (True, "0")
