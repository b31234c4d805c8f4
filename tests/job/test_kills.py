"""Supervisor, job and observer killed at random moments, singly and together: the run directory stays true."""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import pytest

from finetuner.server.executors import rundir
from tests.rundir_support import JOBS, PATIENCE_S, PYTHON, kill, make, marked, processes, read, until, watch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds its victims in /proc")

AT_ONCE = 3
COUNTING = str(JOBS / "counting.py")
SUPERVISOR = str(rundir.SUPERVISOR)
FILES = {"alive", "exit.json", "job.json", "spec.json", "started.json", "supervisor.log", "log", "events.jsonl", "stop"}
spawning = multiprocessing.get_context("forkserver")


@attrs.define
class Case:
    """One run, who is killed in it, and what came of that."""

    run_dir: Path
    side: Path
    chance: random.Random
    job: rundir.Job
    hit: Counter[str] = attrs.field(factory=Counter)
    """How often each victim was there when its moment came."""

    def observer(self) -> multiprocessing.process.BaseProcess:
        process = spawning.Process(target=watch, args=(self.run_dir, self.side / "seen"), daemon=True)
        process.start()
        return process

    def strike(self, victim: str, observers: list[multiprocessing.process.BaseProcess]) -> None:
        if victim == "stop":
            rundir.request_stop(self.run_dir)
            self.hit["stop"] += 1
        elif victim == "observer":
            for observer in observers:
                self.hit["observer"] += observer.is_alive()
                observer.kill()
        else:
            words = [SUPERVISOR, str(self.run_dir)] if victim == "supervisor" else [COUNTING, str(self.side)]
            for pid in processes(*words):
                name = "gravedigger" if b"--lost" in read(Path(f"/proc/{pid}/cmdline")) else victim
                self.hit[name] += kill(pid, *words)
            if self.hit["supervisor"] and self.chance.random() < 0.4:
                self.strike_gravedigger()

    def strike_gravedigger(self) -> None:
        """Kill who writes that the run is lost, while he does, if an observer sends one soon."""
        words = [SUPERVISOR, str(self.run_dir), "--lost"]
        deadline = time.monotonic() + 0.2
        while not (found := list(processes(*words))) and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(self.chance.uniform(0, 0.06) if found else 0)
        self.hit["gravedigger"] += any(kill(pid, *words) for pid in found)

    def play(self) -> rundir.Exit:
        """Start, kill at random moments, then look until the end."""
        victims = self.chance.sample(
            ["supervisor", "worker", "observer", "stop"], self.chance.choice([0, 1, 1, 2, 2, 3])
        )
        moments = sorted((self.chance.uniform(0, 0.25), victim) for victim in victims)
        observers = [self.observer() for _ in range(self.chance.choice([1, 1, 2]))]
        signs = [self.run_dir, self.run_dir / "started.json", self.side / "runs", self.side / "runs"]
        until(self.chance.choice(signs).exists, "the start")
        began = time.monotonic()
        for moment, victim in moments:
            time.sleep(max(0.0, began + moment - time.monotonic()))
            self.strike(victim, observers)
        for last in [*observers, self.observer()]:
            last.join(PATIENCE_S)
        ended = rundir.observe(self.run_dir).exit
        assert ended is not None
        return ended

    def check(self, ended: rundir.Exit) -> None:
        """Hold what is in the directory against what was done and what the job noted."""
        before = (self.run_dir / "exit.json").stat()
        supervisors = set(processes(SUPERVISOR, str(self.run_dir)))
        assert not set(marked(self.job.cookie)) - supervisors, "an orphan"
        self.check_outcome(ended)
        self.check_output(ended)
        assert {path.name for path in self.run_dir.iterdir()} <= FILES
        assert len(set((self.side / "seen").read_text().split())) == 1, "two looks saw two ends"
        until(lambda: not marked(self.job.cookie), "the end of the supervisor")
        assert rundir.observe(self.run_dir).exit == ended
        after = (self.run_dir / "exit.json").stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)

    def check_outcome(self, ended: rundir.Exit) -> None:
        runs = read(self.side / "runs")
        assert runs.count(b"started") <= 1, "the job was run twice"
        culprits = {"lost": "supervisor", "failed": "worker", "cancelled": "stop"}
        if ended.outcome == "finished":
            assert runs.endswith(b"finished\n")
            assert (ended.exit_code, ended.signal, ended.failure) == (0, None, None)
        else:
            assert self.hit[culprits[ended.outcome]], f"{ended} though only {self.hit}"
            assert ended.failure is not None
        if ended.outcome == "failed":
            assert (ended.exit_code, ended.signal, ended.failure and ended.failure.type) == (None, 9, "Killed")

    def check_output(self, ended: rundir.Exit) -> None:
        for name, noted, size_bytes in (
            ("log", read(self.side / "log"), ended.log_bytes),
            ("events.jsonl", read(self.side / "events"), ended.events_bytes),
        ):
            written = read(self.run_dir / name)
            assert len(written) == size_bytes
            assert written == b"" or written.endswith(b"\n")
            if name == "log" and ended.failure is not None:
                written, *said = written.split(b"failed: ")
                last = f"{ended.failure.type}: {ended.failure.message}\n"
                assert said, "its log does not say why"
                assert said[-1].decode() == last, "the last word of its log is not the true one"
                # A supervisor can be killed between its last word and its `exit.json`: that word stays in the log.
                is_buried = ended.outcome == "lost" and bool(self.hit["supervisor"] or self.hit["gravedigger"])
                assert len(said) == 1 or (len(said) == 2 and is_buried), "its log says twice why"
            whole = noted.startswith(written)
            assert whole or (ended.outcome == "lost" and name == "log" and noted.startswith(written[:-1]))
            if ended.outcome == "finished":
                assert written == noted
            elif ended.outcome != "lost":
                assert noted[len(written) :].count(b"\n") <= 1, "what the job wrote before its end is missing"
        steps = [event["step"] for event in rundir.read_events(self.run_dir, 0)[0]]
        assert steps == list(range(len(steps)))


def case(tmp_path: Path, number: int, seed: int) -> tuple[str, Counter[str]]:
    chance = random.Random(seed * 1_000_003 + number)  # noqa: S311  repeatable, not secret
    run_dir, side = tmp_path / f"run-{number}", tmp_path / f"side-{number}"
    side.mkdir()
    child = chance.choice(["none", "none", "group", "session"])
    argv = [*PYTHON, COUNTING, str(side), str(chance.randrange(60)), str(chance.choice([0, 0.003, 0.006])), child]
    job = rundir.Job(run_id=run_dir.name, argv=argv, drain_s=chance.choice([0.0, 0.05]), grace_s=0.1)
    make(run_dir, **attrs.asdict(job))
    played = Case(run_dir, side, chance, job)
    ended = played.play()
    try:
        played.check(ended)
    except AssertionError as error:
        error.add_note(f"case {number} of seed {seed}: {played.hit}, {attrs.evolve(ended, last_lines=())}")
        raise
    return ended.outcome, played.hit


@pytest.mark.counted
@pytest.mark.timeout(3600)
def test_kills_at_random_moments_leave_one_true_exit_and_no_orphan(
    tmp_path: Path, scaled: Callable[[int], int], capsys: pytest.CaptureFixture[str]
) -> None:
    spawning.set_forkserver_preload(["tests.rundir_support"])
    seed = int(os.environ.get("FINETUNER_TEST_SEED", str(random.SystemRandom().randrange(10**6))))
    outcomes: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    alone_or_together: Counter[str] = Counter()
    began = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for outcome, hit in threads.map(lambda number: case(tmp_path, number, seed), range(scaled(1_000))):
            outcomes[outcome] += 1
            hits += hit
            alone_or_together[" and ".join(sorted(hit)) or "nobody"] += 1
    with capsys.disabled():
        print(f"\n{outcomes.total()} runs in {time.monotonic() - began:.0f} s, seed {seed}: {dict(outcomes)}")
        print(f"kills: {dict(hits)}; at once: {dict(alone_or_together)}")
