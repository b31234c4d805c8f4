"""The filters and orders of lists of runs, as values."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest

from finetuner.api.selecting import MetricThreshold, RunFilter, check_sort, in_order
from finetuner.api.types import RunStatus
from finetuner.errors import InvalidInput, InvalidName


def test_a_filter_is_written_for_the_wire_as_it_is_read_there() -> None:
    noon = dt.datetime(2026, 1, 31, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    wanted = RunFilter(
        experiment_name="nightly",
        status=["FAILED", RunStatus.CREATED],
        tag="a",
        created_after=noon,
        finished_before="2026-02-01T00:00:00Z",
        metric=["after.reciprocal_rank > 0.8", "before.recall_at_1=0"],
    )
    assert wanted.query() == {
        "experiment": "nightly",
        "status": ["FAILED", "CREATED"],
        "tag": ["a"],
        "created_after": "2026-01-31T10:00:00.000000Z",
        "finished_before": "2026-02-01T00:00:00.000000Z",
        "metric": ["after.reciprocal_rank>0.8", "before.recall_at_1==0.0"],
    }
    assert tuple(map(MetricThreshold.parse, map(str, wanted.metric))) == wanted.metric
    assert str(wanted).startswith("experiment=nightly status=FAILED status=CREATED tag=a created_after=2026-01-31")
    assert (RunFilter().query(), str(RunFilter())) == ({}, "all runs")


def test_a_time_without_a_zone_is_local() -> None:
    local = dt.datetime(2026, 7, 1, 8)  # noqa: DTZ001 - the very thing that is tested
    assert RunFilter(created_after=local).query() == RunFilter(created_after=local.astimezone()).query()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"status": "failed"}, "no status 'failed'; there are CREATED, STARTED, FINISHED, FAILED. Near: 'FAILED'"),
        ({"task": "train"}, "no task 'train'; there are training, generation"),
        ({"created_after": "yesterday"}, "created_after must be a datetime or an ISO 8601 text, not 'yesterday'"),
        ({"name_prefix": 3}, "name_prefix must be a text, not 3"),
        ({"metric": "reciprocal_rank>0.8"}, "'reciprocal_rank>0.8' must be written as STAGE.NAME"),
        ({"metric": "during.loss<1"}, "'during' is no stage; there are before and after"),
        ({"metric": "after.loss<low"}, "'low' is no number"),
        ({"metric": "after.loss<inf"}, "'inf' is no number"),
        ({"metric": "after.loss!=1"}, "!= is no comparison; there are >=, <=, ==, >, <"),
        ({"metric": "after.loss<5_0"}, "'5_0' is no number"),
        ({"metric": "after.loss<٣"}, "'٣' is no number"),
        ({"name_prefix": ""}, "name_prefix is empty, which would mean every run"),
        ({"created_after": "0001-01-01"}, "created_after: '0001-01-01' is too far from now"),
        ({"created_before": "9999-12-31T23:00:00-12:00"}, "too far from now to be told in UTC"),
        ({"metric": 'after.a"b<1'}, "must be written as STAGE.NAME"),
        ({"metric": "after.a\0b<1"}, r"metric 'after.a\x00b<1': a metric's name with a control character"),
        ({"metric": "after.a\nb<1"}, "a metric's name with a control character"),
        ({"metric": "after.a\ud800<1"}, "metric holds a lone surrogate"),
    ],
)
def test_what_no_run_can_have_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(words)):
        RunFilter(**given)


def test_an_experiment_that_can_have_no_such_name_is_refused() -> None:
    with pytest.raises(InvalidName):
        RunFilter(experiment_name="")


RUNS = [
    {"seq": 4, "name": "b", "status": "FAILED", "metrics": {"after": {"mrr": 0.5}}, "started_at": None},
    {
        "seq": 3,
        "name": "a",
        "status": "FINISHED",
        "metrics": {"after": {"mrr": 0.9}},
        "started_at": "2026-01-01T00:00:00.000000Z",
        "finished_at": "2026-01-01T00:00:09.000000Z",
    },
    {
        "seq": 2,
        "name": "c",
        "status": "FINISHED",
        "metrics": {},
        "started_at": "2026-01-02T00:00:00.000000Z",
        "finished_at": "2026-01-02T00:00:05.000000Z",
    },
    {"seq": 1, "name": "a", "status": "CREATED", "metrics": {"after": {"mrr": 0.5}}},
]


@pytest.mark.parametrize(
    ("sort", "seqs"),
    [
        ("created", [1, 2, 3, 4]),
        ("-created", [4, 3, 2, 1]),
        ("name", [3, 1, 4, 2]),
        ("-name", [2, 4, 3, 1]),
        ("status", [1, 3, 2, 4]),
        ("duration", [2, 3, 4, 1]),
        ("-duration", [3, 2, 4, 1]),
        ("-started", [2, 3, 4, 1]),
        ("after.mrr", [4, 1, 3, 2]),
        ("-after.mrr", [3, 4, 1, 2]),
        ("before.mrr", [4, 3, 2, 1]),
    ],
)
def test_runs_are_put_in_order_and_those_that_lack_it_come_last(sort: str, seqs: list[int]) -> None:
    check_sort(sort)
    assert [run["seq"] for run in in_order(RUNS, sort, lambda run: run)] == seqs


@pytest.mark.parametrize("sort", ["", "-", "create", "during.loss", "after.", "+name"])
def test_an_order_that_there_is_not_is_refused_with_near_ones(sort: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(f"there is no order {sort!r}; there are created, started")):
        check_sort(sort)
