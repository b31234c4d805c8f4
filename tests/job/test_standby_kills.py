"""A supervisor that waits, or its worker, killed at random moments around the hand-over: one true exit, no orphan."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from finetuner.server.executors import rundir
from finetuner.server.executors.standby import STANDBY, Model, Standby
from tests.rundir_support import JOBS, PATIENCE_S, PYTHON, end, kill, make, marked, read, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds its victims in /proc")

AT_ONCE = 3
BEFORE = b"said before there was a run\n"


def strike(one: Standby, victim: str, wait_s: float, hit: Counter[str]) -> None:
    """Kill the supervisor that waits, or its worker and whatever does the run's work at that moment."""
    time.sleep(wait_s)
    if victim == "supervisor":
        hit["supervisor"] += kill(one._process.pid, str(STANDBY))
        return
    for pid in marked(one.cookie):
        command = read(Path(f"/proc/{pid}/cmdline")).split(b"\0")
        if not {str(STANDBY).encode(), str(rundir.SUPERVISOR).encode()} & set(command):
            hit["worker"] += kill(pid)


def case(tmp_path: Path, number: int, seed: int) -> tuple[str, Counter[str]]:
    chance = random.Random(seed * 1_000_003 + number)  # noqa: S311  repeatable, not secret
    run_dir, side = tmp_path / f"run-{number}", tmp_path / f"side-{number}"
    side.mkdir()
    child = chance.choice(["none", "none", "group", "session"])
    argv = [*PYTHON, str(JOBS / "counting.py"), str(side), str(chance.randrange(20)), "0.001", child]
    make(run_dir, argv=argv, drain_s=0.05, grace_s=0.1)
    one = Standby(Model(argv=(*PYTHON, str(JOBS / "standing.py"), "well"), env=os.environ), 600.0)
    if chance.random() < 0.7:
        assert one._has_said("ready", PATIENCE_S)
    hit: Counter[str] = Counter()
    victims = chance.sample(["supervisor", "worker"], chance.choice([0, 1, 1, 1, 2]))
    killers = [threading.Thread(target=strike, args=(one, who, chance.uniform(0, 0.05), hit)) for who in victims]
    for killer in killers:
        killer.start()
    time.sleep(chance.uniform(0, 0.04))
    is_warm = rundir.start(run_dir, os.environ, standby=one)
    assert rundir.observe(run_dir).state != "not_started", "nobody has the run"
    ended = end(run_dir)
    for killer in killers:
        killer.join()
    try:
        check(run_dir, side, ended, hit, is_warm=is_warm)
        until(lambda: not marked(one.cookie), "the end of every process")
        # A process that another thread forks holds the lock until it runs its program: a look may find it taken.
        assert end(run_dir) == ended
    except AssertionError as error:
        error.add_note(f"case {number} of seed {seed}: {is_warm=} {hit} {ended}")
        raise
    warmth = "warm" if BEFORE in read(run_dir / "log") else "cold"
    return f"{warmth}, {ended.outcome}", hit


def taken(run_dir: Path) -> Path:
    """Give the file that a worker leaves before it says that it takes the run."""
    return run_dir.with_suffix(".taken")


def check(run_dir: Path, side: Path, ended: rundir.Exit, hit: Counter[str], *, is_warm: bool) -> None:
    """Hold what is in the directory against who was killed and what the job noted."""
    runs = read(side / "runs")
    assert runs.count(b"started") <= 1, "the job was run twice"
    written, *said = read(run_dir / "log").replace(BEFORE, b"").split(b"failed: ")
    noted = read(side / "log")
    if ended.outcome == "finished":
        assert runs.endswith(b"finished\n")
        assert (written, said) == (noted, [])
    else:
        assert hit[{"lost": "supervisor", "failed": "worker"}[ended.outcome]], f"{ended} though only {hit}"
        assert ended.failure is not None
        assert said, "its log does not say why"
        last = f"{ended.failure.type}: {ended.failure.message}\n"
        assert said[-1].decode() == last, "the last word of its log is not the true one"
        # A supervisor can be killed between its last word and its `exit.json`: that word stays in the log.
        assert len(said) == 1 or (len(said) == 2 and ended.outcome == "lost"), "its log says twice why"
        assert noted.startswith(written.removesuffix(b"\n"))
    if ended.outcome == "failed":
        assert (ended.signal, ended.failure and ended.failure.type) == (9, "Killed")
        is_one_kill = is_warm and hit["worker"] == 1
        assert runs or taken(run_dir).exists() or not is_one_kill, "a worker that never began ended the run"
    assert len(read(run_dir / "log")) == ended.log_bytes


@pytest.mark.counted
@pytest.mark.timeout(3600)
def test_kills_around_the_hand_over_leave_one_true_exit_and_no_orphan(
    tmp_path: Path, scaled: Callable[[int], int], capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("FINETUNER_TEST_SEED", str(random.SystemRandom().randrange(10**6))))
    outcomes: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for outcome, hit in threads.map(lambda number: case(tmp_path, number, seed), range(scaled(1_000))):
            outcomes[outcome] += 1
            hits += hit
    with capsys.disabled():
        print(f"\n{outcomes.total()} runs, seed {seed}: {dict(outcomes)}; kills: {dict(hits)}")
