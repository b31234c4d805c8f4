"""Each benchmark runs whole in its small form, and what it measured is right; how fast that was is not looked at."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks import __main__ as door
from benchmarks.contestant import contestant
from benchmarks.delay import echo_round_trip_s
from benchmarks.measure import Goal, Measured, Options, Table, in_turn, show

QUICK = ("imports", "listing", "logstream", "status", "watch", "throughput", "download", "memory", "console")
TRAINING = {"first_step", "training", "synthesis"}
"""Those that train: their measurements have tests of their own, or take too long for a look at each change."""


@pytest.mark.parametrize("name", QUICK)
def test_the_small_form_runs_whole(name: str) -> None:
    if name == "download" and shutil.which("curl") is None:
        pytest.skip("there is no curl")
    tables = door.run(name, Options(repeat=1, is_quick=True))
    assert tables
    for table in tables:
        show(table)
        assert table.rows
        assert all(row.values and all(value >= 0 for value in row.values) for row in table.rows)


def test_every_benchmark_is_run_here_or_listed() -> None:
    files = Path(door.__file__).parent.glob("*.py")
    modules = {path.stem for path in files if "def measure(options: Options)" in path.read_text(encoding="utf-8")}
    assert len(modules) == 10
    assert modules <= set(door.WORKS)
    assert set(QUICK) | TRAINING == set(door.WORKS)


@pytest.mark.train
@pytest.mark.timeout(600)
def test_the_first_step_of_a_run_is_found() -> None:
    (table,) = door.run("first_step", Options(repeat=1, is_quick=True))
    assert [row.unit for row in table.rows] == ["s", "s", "s", "s", "MB"]
    assert len(table.rows[-1].values) == 5, "a worker came to wait after each of our runs"
    assert all(value > 0 for row in table.rows for value in row.values)


def test_what_was_measured_is_written_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out" / "figures.json"
    door.main(["imports", "--quick", "--no-peers", "--json", str(target)])
    assert "import finetuner over a bare start" in capsys.readouterr().out
    said = json.loads(target.read_text(encoding="utf-8"))
    assert said["machine"]["cores"]
    (table,) = said["benchmarks"]["imports"]["tables"]
    assert [row["ratio"] is None for row in table["rows"]] == [True, False, False, False]
    assert [path.name for path in target.parent.iterdir()] == ["figures.json"]


def test_a_byte_takes_as_long_as_the_proxy_says() -> None:
    assert echo_round_trip_s(0.02) >= 0.04


def test_works_take_turns_and_the_first_turn_of_each_is_not_measured() -> None:
    done: list[str] = []
    rows = in_turn({"one": lambda: done.append("one"), "two": lambda: done.append("two")}, 2)
    assert done == ["one", "two"] * 3
    assert [(row.name, len(row.values)) for row in rows] == [("one", 2), ("two", 2)]


def test_a_ratio_is_to_the_first_row_of_the_same_unit() -> None:
    limit, ours = Measured(name="limit", values=[9, 1, 2]), Measured(name="ours", values=[3])
    memory, more = Measured(name="memory", values=[5], unit="MB"), Measured(name="more", values=[10], unit="MB")
    table = Table(title="", rows=[limit, ours, memory, more])
    assert [table.ratio(row) for row in table.rows] == [None, 1.5, None, 2.0]


def test_a_goal_is_the_most_or_the_least() -> None:
    assert Goal(what="", value=1, limit=1).is_met
    assert not Goal(what="", value=2, limit=1).is_met
    assert Goal(what="", value=2, limit=1, is_most=False).is_met
    assert not Goal(what="", value=0.9, limit=1, is_most=False).is_met


def test_a_contestant_that_ends_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="contestant status_bare ended with"), contestant("status_bare", "none"):
        pass
