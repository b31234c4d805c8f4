from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetuner.api import paging
from finetuner.api.paging import Pager, RangeRequest, RunPage, answer_plan, answer_range, encode_page, read_page
from finetuner.errors import BadResponse, InvalidInput

Row = dict[str, Any]


def seq_of(row: Row) -> int:
    seq: int = row["seq"]
    return seq


@attrs.define
class Server:
    """A server in memory: the runs by seq, with whether each matches the filter."""

    matches: dict[int, bool] = attrs.field(factory=dict)
    last_seq: int = 0
    max_boundaries: int = paging.MAX_BOUNDARIES

    def create(self, *, matching: bool) -> None:
        self.last_seq += 1
        self.matches[self.last_seq] = matching

    def matching(self) -> list[int]:
        return [seq for seq in sorted(self.matches, reverse=True) if self.matches[seq]]

    def answer(self, query: dict[str, int]) -> bytes:
        request = RangeRequest.from_query({name: str(value) for name, value in query.items()})
        span = [seq for seq in self.matching() if request.before_seq is None or seq < request.before_seq]
        span = [seq for seq in span if seq >= (request.from_seq or 0)]
        rows = [(seq, orjson.dumps({"seq": seq})) for seq in span[: request.limit + 1]]
        if request.from_seq is not None:
            return encode_page(answer_range(request, rows))
        boundaries = span[request.limit - 1 :: request.limit][: self.max_boundaries]
        return encode_page(answer_plan(request, rows, total=len(span), boundaries=boundaries))


def list_all(server: Server, pager: Pager[Row], between: Callable[[list[RangeRequest]], int]) -> list[int]:
    """Run a listing; `between` acts while requests are out and chooses which is answered next."""
    rows: list[int] = []
    out: list[RangeRequest] = []
    while not pager.done:
        out += pager.next_requests()
        chosen = out.pop(between(out))
        pager.feed(chosen, read_page(orjson.loads(server.answer(chosen.query()))))
        rows += [seq_of(row) for row in pager.ready()]
    assert not out
    return rows


@settings(max_examples=300, deadline=None)
@given(
    data=st.data(),
    first=st.lists(st.booleans(), max_size=60),
    limit=st.integers(1, 7),
    concurrency=st.integers(1, 6),
    max_pages=st.none() | st.integers(1, 8),
    max_ranges=st.integers(1, 4) | st.just(paging.MAX_RANGES),
)
def test_each_run_that_matched_throughout_is_listed_once(
    data: st.DataObject, first: list[bool], limit: int, concurrency: int, max_pages: int | None, max_ranges: int
) -> None:
    server = Server()
    for matching in first:
        server.create(matching=matching)
    throughout = set(server.matching())
    ever, top = set(throughout), [server.last_seq]
    action = st.tuples(st.sampled_from(["create", "delete", "flip"]), st.integers(1, 80), st.booleans())

    def between(out: list[RangeRequest]) -> int:
        change()
        if out == [RangeRequest(limit=limit)]:
            top[0] = server.last_seq
        return data.draw(st.integers(0, len(out) - 1))

    def change() -> None:
        for kind, number, matching in data.draw(st.lists(action, max_size=4)):
            if kind == "create":
                server.create(matching=matching)
            elif kind == "delete":
                server.matches.pop(number, None)
            elif number in server.matches:
                server.matches[number] = not server.matches[number]
            throughout.intersection_update(server.matching())
            ever.update(server.matching())

    pager = Pager(seq_of=seq_of, limit=limit, concurrency=concurrency, max_pages=max_pages)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paging, "MAX_BOUNDARIES", max_ranges + 1)
        rows = list_all(server, pager, between)
    assert rows == sorted(set(rows), reverse=True)
    assert throughout <= set(rows) <= ever
    assert max(rows, default=0) <= top[0]


def test_runs_created_after_the_first_page_are_not_listed() -> None:
    server = Server()
    for _ in range(25):
        server.create(matching=True)

    def between(out: list[RangeRequest]) -> int:
        if out[0].before_seq is not None:
            for _ in range(30):
                server.create(matching=True)
        return 0

    assert list_all(server, Pager(seq_of=seq_of, limit=10), between) == list(range(25, 0, -1))


def test_rows_that_start_to_match_inside_a_range_push_none_out() -> None:
    server = Server()
    for number in range(1, 201):
        server.create(matching=number % 10 == 0)
    throughout = server.matching()

    def between(out: list[RangeRequest]) -> int:
        if out[0].before_seq is not None:
            server.matches.update(dict.fromkeys(server.matches, True))
        return len(out) - 1

    rows = list_all(server, Pager(seq_of=seq_of, limit=5), between)
    assert set(throughout) <= set(rows)
    assert rows == [*throughout[:5], *range(throughout[4] - 1, throughout[-1] - 1, -1)]


def test_one_request_a_page_none_a_run_and_the_ranges_go_out_together() -> None:
    server = Server()
    for _ in range(10_000):
        server.create(matching=True)
    pager = Pager(seq_of=seq_of, limit=100, concurrency=200, max_pages=200)
    (plan,) = pager.next_requests()
    pager.feed(plan, read_page(orjson.loads(server.answer(plan.query()))))
    assert pager.total == 10_000
    assert [seq_of(row) for row in pager.ready()] == list(range(10_000, 9_900, -1))
    assert len(pager.next_requests()) == 99


@pytest.mark.parametrize("total", [0, 1, 9, 10, 11, 30, 31, 39, 40, 41, 50, 69, 70, 71, 400])
def test_a_plan_of_many_ranges_goes_on_from_the_last(total: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MAX_BOUNDARIES", 4)
    server = Server(max_boundaries=4)
    for _ in range(total):
        server.create(matching=True)
    requests = []

    def between(out: list[RangeRequest]) -> int:
        requests.append(out[0])
        return 0

    rows = list_all(server, Pager(seq_of=seq_of, limit=10, concurrency=1), between)
    assert rows == list(range(total, 0, -1))
    assert len(requests) == max(1, -(-total // 10))


def test_a_plan_names_all_its_ranges_and_where_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MAX_BOUNDARIES", 3)
    rows = [(seq, seq) for seq in range(90, 79, -1)]
    request = RangeRequest(before_seq=91, limit=10)

    def plan(total: int, *boundaries: int) -> tuple[list[tuple[int, int]], int | None]:
        answer = answer_plan(request, rows, total=total, boundaries=boundaries)
        assert (list(answer.items), answer.total) == (list(range(90, 80, -1)), total)
        return list(answer.ranges), answer.next

    assert plan(10, 81) == ([], None)
    assert plan(11, 81) == ([(81, 0)], None)
    assert plan(20, 81, 71) == ([(81, 71)], None)
    assert plan(29, 81, 71) == ([(81, 71), (71, 0)], None)
    assert plan(30, 81, 71, 61) == ([(81, 71), (71, 61)], None)
    assert plan(31, 81, 71, 61) == ([(81, 71), (71, 61)], 61)
    assert plan(90, 81, 71, 61, 51, 41) == ([(81, 71), (71, 61)], 61)


def test_a_slow_front_page_does_not_fill_the_memory() -> None:
    server = Server()
    for _ in range(1_000):
        server.create(matching=True)
    pager = Pager(seq_of=seq_of, limit=10, concurrency=4, max_pages=12)
    (plan,) = pager.next_requests()
    pager.feed(plan, read_page(orjson.loads(server.answer(plan.query()))))
    pager.ready()
    front, *others = pager.next_requests()
    asked = 1 + len(others)
    while others:
        assert len(others) <= 3
        one = others.pop()
        pager.feed(one, read_page(orjson.loads(server.answer(one.query()))))
        new = pager.next_requests()
        asked += len(new)
        others += new
    assert asked == 12
    assert pager.ready() == []
    pager.feed(front, read_page(orjson.loads(server.answer(front.query()))))
    assert len(pager.ready()) == 120
    assert len(pager.next_requests()) == 4


def test_rows_not_taken_count_as_held() -> None:
    server = Server()
    for _ in range(100):
        server.create(matching=True)
    pager = Pager(seq_of=seq_of, limit=1, concurrency=2, max_pages=3)
    out = pager.next_requests()
    fed = 0
    while out:
        one = out.pop()
        pager.feed(one, read_page(orjson.loads(server.answer(one.query()))))
        fed += 1
        out += pager.next_requests()
    assert fed == 3
    assert [seq_of(row) for row in pager.ready()] == [100, 99, 98]


def page(*seqs: int, next: int | None = None, ranges: Sequence[tuple[int, int]] = ()) -> RunPage[Row]:
    return RunPage(items=[{"seq": seq} for seq in seqs], next=next, ranges=ranges)


@pytest.mark.parametrize(
    "bad",
    [
        page(20),
        page(21),
        page(9),
        page(15, 15),
        page(14, 15),
        page(15, next=16),
        page(15, next=20),
        page(next=20),
        page(next=10),
        page(12, ranges=[(12, 10)]),
    ],
)
def test_an_answer_that_would_lose_or_repeat_rows_is_refused(bad: RunPage[Row]) -> None:
    pager = Pager(seq_of=seq_of, limit=10)
    (plan,) = pager.next_requests()
    pager.feed(plan, page(30, 20, ranges=[(20, 10)]))
    (request,) = pager.next_requests()
    with pytest.raises(BadResponse, match="makes no sense"):
        pager.feed(request, bad)
    pager.feed(request, page(19, 10))
    assert [seq_of(row) for row in pager.ready()] == [30, 20, 19, 10]
    assert pager.done


@pytest.mark.parametrize(
    "bad",
    [
        page(30, 20, ranges=[(21, 10)]),
        page(30, 20, ranges=[(20, 10), (11, 0)]),
        page(30, 20, ranges=[(10, 10)]),
        page(30, 20, ranges=[(10, -1)]),
        page(30, 20, ranges=[(20, 10)], next=11),
        page(30, 20, next=0),
    ],
)
def test_a_plan_that_overlaps_itself_is_refused(bad: RunPage[Row]) -> None:
    pager = Pager(seq_of=seq_of)
    (plan,) = pager.next_requests()
    with pytest.raises(BadResponse, match="makes no sense"):
        pager.feed(plan, bad)


def test_an_answer_to_a_request_that_is_not_out_is_refused() -> None:
    pager = Pager(seq_of=seq_of)
    (plan,) = pager.next_requests()
    pager.feed(plan, page(3))
    with pytest.raises(KeyError):
        pager.feed(plan, page(3))


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "101"},
        {"limit": ""},
        {"limit": "1_0"},
        {"limit": "٣"},
        {"before_seq": "-1"},
        {"before_seq": "9" * 30},
        {"before_seq": "1.5"},
        {"from_seq": "3"},
        {"from_seq": "3", "before_seq": "3"},
    ],
)
def test_a_malformed_query_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(InvalidInput) as caught:
        RangeRequest.from_query(query)
    assert caught.value.errors[0].path in {"$.limit", "$.before_seq", "$.from_seq"}


def test_a_query_reads_as_it_was_written_beside_other_parameters() -> None:
    request = RangeRequest(before_seq=9901, from_seq=9801, limit=50)
    query = {name: str(value) for name, value in request.query().items()}
    assert query == {"before_seq": "9901", "from_seq": "9801", "limit": "50"}
    assert RangeRequest.from_query(query | {"status": "STARTED"}) == request
    assert RangeRequest.from_query({}) == RangeRequest(limit=100)
    assert RangeRequest().query() == {"limit": 100}


@pytest.mark.parametrize("items", [[], [b'{"seq":2,"config":{"a":"\xc3\xa4"}}', b'{"seq":1}']])
def test_a_page_is_read_as_it_was_encoded(items: list[bytes]) -> None:
    sent = RunPage(items=items, total=7, next=1, ranges=[(9, 5), (5, 1)])
    got = read_page(orjson.loads(encode_page(sent)))
    assert got == RunPage(items=[orjson.loads(item) for item in items], total=7, next=1, ranges=[(9, 5), (5, 1)])


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"items": {}},
        {"items": [1]},
        {"items": [{"seq": "1"}]},
        {"items": [], "total": "7"},
        {"items": [], "next": 1.5},
        {"items": [], "next": True},
        {"items": [], "ranges": {"a": 1}},
        {"items": [], "ranges": [[1, 2, 3]]},
        {"items": [], "ranges": [[2, None]]},
        {"items": [], "ranges": [["2", "1"]]},
    ],
)
def test_what_is_no_page_is_a_bad_response(value: object) -> None:
    with pytest.raises(BadResponse):
        read_page(value)


def test_fields_of_a_newer_server_are_ignored() -> None:
    assert read_page({"items": [{"seq": 1}], "mood": "good"}).items == [{"seq": 1}]
