from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetuner.api.retry import (
    LONGEST_WAIT_S,
    Decision,
    Done,
    GiveUp,
    NoAnswer,
    Reason,
    Retry,
    decide,
    parse_retry_after,
)

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
TROUBLE = [408, 429, 500, 502, 503, 504, NoAnswer.CONNECTION, NoAnswer.TIMEOUT]


def decided(
    method: str,
    outcome: int | NoAnswer,
    *,
    attempt: int = 1,
    keyed: bool = False,
    elapsed_s: float = 0.0,
    retry_after: float | None = None,
) -> Decision:
    return decide(method, attempt, outcome, retry_after=retry_after, elapsed_s=elapsed_s, budget_s=60.0, keyed=keyed)


@pytest.mark.parametrize("outcome", TROUBLE)
@pytest.mark.parametrize(
    ("method", "keyed", "is_retried"),
    [
        ("GET", False, True),
        ("HEAD", False, True),
        ("PUT", False, True),
        ("PATCH", False, True),
        ("DELETE", False, True),
        ("POST", True, True),
        ("POST", False, False),
        ("CONNECT", True, False),
    ],
)
def test_trouble_is_retried_where_twice_is_as_once(
    method: str, keyed: bool, is_retried: bool, outcome: int | NoAnswer
) -> None:
    expected = Retry(0.25, jitter=True) if is_retried else GiveUp(Reason.NOT_REPEATABLE)
    assert decided(method, outcome, keyed=keyed) == expected


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 416, 422, 501, 505, 507])
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_an_answer_that_would_come_again_is_final(method: str, status: int) -> None:
    for attempt in (1, 2):
        assert decided(method, status, attempt=attempt, keyed=True) == GiveUp(Reason.FINAL)


@pytest.mark.parametrize("status", [200, 201, 204, 206, 304])
def test_success_is_done_however_late(status: int) -> None:
    assert decided("POST", status, attempt=9, elapsed_s=1e6) == Done()


def test_only_a_retried_delete_may_find_nothing() -> None:
    assert decided("DELETE", 404, attempt=1) == GiveUp(Reason.FINAL)
    assert decided("DELETE", 404, attempt=2) == Done()
    assert decided("DELETE", 403, attempt=2) == GiveUp(Reason.FINAL)
    assert decided("GET", 404, attempt=2) == GiveUp(Reason.FINAL)


def test_the_wait_doubles_up_to_its_longest() -> None:
    waits = [decided("GET", 503, attempt=attempt) for attempt in (1, 2, 3, 4, 5, 6, 7, 10_000)]
    assert waits == [Retry(wait_s, jitter=True) for wait_s in (0.25, 0.5, 1, 2, 4, 8, 8, 8)]


@pytest.mark.parametrize("status", [429, 503])
def test_what_the_server_asks_for_is_waited_exactly(status: int) -> None:
    assert decided("GET", status, attempt=5, retry_after=31.5) == Retry(31.5, jitter=False)
    assert decided("GET", status, retry_after=0.0) == Retry(0.0, jitter=False)


def test_a_wait_beyond_the_budget_is_not_begun() -> None:
    assert decided("GET", 429, retry_after=60.1) == GiveUp(Reason.RATE_LIMITED, 60.1)
    assert decided("GET", 429, elapsed_s=59.9) == GiveUp(Reason.RATE_LIMITED, 0.25)
    assert decided("GET", 503, retry_after=61.0) == GiveUp(Reason.OUT_OF_TIME, 61.0)
    assert decided("GET", NoAnswer.TIMEOUT, elapsed_s=60.0) == GiveUp(Reason.OUT_OF_TIME, 0.25)
    assert decided("GET", 503, elapsed_s=29.0, retry_after=31.0) == Retry(31.0, jitter=False)


@settings(deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "DELETE", "TRACE"]),
    attempt=st.integers(1, 10**6),
    outcome=st.integers(100, 599) | st.sampled_from(NoAnswer),
    retry_after=st.none() | st.floats(0, 1e6),
    elapsed_s=st.floats(0, 1e6),
    budget_s=st.floats(0, 1e6),
    keyed=st.booleans(),
)
def test_no_try_begins_after_the_budget(
    method: str,
    attempt: int,
    outcome: int | NoAnswer,
    retry_after: float | None,
    elapsed_s: float,
    budget_s: float,
    keyed: bool,
) -> None:
    decision = decide(
        method, attempt, outcome, retry_after=retry_after, elapsed_s=elapsed_s, budget_s=budget_s, keyed=keyed
    )
    if isinstance(decision, Retry):
        assert elapsed_s + decision.after_s <= budget_s
        assert decision.after_s == retry_after or (decision.jitter and decision.after_s <= LONGEST_WAIT_S)


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        (None, None),
        ("0", 0),
        (" 120 ", 120),
        ("1.5", 1.5),
        ("Sat, 31 Jan 2026 12:01:30 GMT", 90),
        ("Saturday, 31-Jan-26 12:01:30 GMT", 90),
        ("Sat Jan 31 12:01:30 2026", 90),
        ("Sat, 31 Jan 2026 11:00:00 GMT", 0),
        ("Sat, 31 Jan 2026 13:01:30 +0100", 90),
        ("", None),
        ("-1", None),
        ("nan", None),
        ("1e9", None),
        ("٣", None),
        ("soon", None),
        ("Sat, 99 Jan 2026 12:01:30 GMT", None),
        ("9" * 5000, None),
    ],
)
def test_retry_after_is_read_in_each_of_its_forms(text: str | None, wait_s: float | None) -> None:
    assert parse_retry_after(text, NOW) == wait_s
    assert parse_retry_after(text, NOW.astimezone(timezone(timedelta(hours=5)))) == wait_s


@settings(deadline=None)
@given(st.text() | st.text("0123456789 ,:-+GMTJanSu.", max_size=40))
def test_no_header_breaks_the_reader(text: str) -> None:
    wait_s = parse_retry_after(text, NOW)
    assert wait_s is None or wait_s >= 0
