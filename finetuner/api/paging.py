"""The list of runs, exact and fetched in many requests at once: the rules for both ends, without I/O.

Every run has a `seq` that never repeats and never goes back, so a span of `seq` always means the same runs, whatever is
created, deleted or changed meanwhile. Row numbers do not have that property, nor do "the next 100 that match".

The wire::

    GET /api/v1/runs?limit=100                                  a plan
    GET /api/v1/runs?limit=100&before_seq=9901                  a plan of what is older than seq 9901
    GET /api/v1/runs?limit=100&before_seq=9901&from_seq=9801    a range: seqs 9801 to 9900, both included

    {"items": [...], "total": 5055, "ranges": [[9901, 9801], [9801, 9689], ...], "next": null}

All with the same filters. `items` are the newest matching runs of the span asked for, newest first, at most `limit`.

- A **plan** (no `from_seq`) reads one snapshot. `total` counts the matching runs of its span. `ranges` cut what lies
  below `items` into spans `[before_seq, from_seq]` that held `limit` matching runs each; the pair is what to ask for.
  At most `MAX_RANGES` of them; when more runs are left, `next` is the `before_seq` of another plan. Otherwise null.
- A **range** is answered whole: every run of the span that matches now. When more than `limit` match (since the plan,
  runs changed so that they match), `next` is the `before_seq` to go on with, under the same `from_seq`; it is null
  when the span is exhausted. `total` is null and `ranges` empty.

So the spans cover everything below the first page once. A run that matched throughout was in the plan's snapshot, lies
in one span, and is in that span's answer; a run created after the snapshot has a higher `seq` and is in none.

The server's half::

    request = RangeRequest.from_query(query)            # 422 on InvalidInput
    # one read transaction; WHERE filters AND seq < before_seq AND seq >= from_seq ORDER BY seq DESC LIMIT limit + 1
    page = answer_range(request, rows)                  # for a range, or
    page = answer_plan(request, rows, total=count, boundaries=boundaries)
    body = encode_page(page)                            # items: one JSON text each

    boundaries: each `SELECT seq FROM runs WHERE ... AND seq < :last_end ORDER BY seq DESC LIMIT 1 OFFSET :limit - 1`,
                from the last of them to the next, MAX_BOUNDARIES of them at most

The client's half: `Pager`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, Generic, TypeVar

import attrs
import orjson

from finetuner.api.types import Json
from finetuner.errors import BadResponse, FieldError, InvalidInput

T = TypeVar("T")

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 100
"""Most rows of one page."""
MAX_RANGES: Final = 1000
"""Most ranges that one plan names."""
MAX_BOUNDARIES: Final = MAX_RANGES + 1
"""Most boundaries that a plan is made of: the end of its own page, and of each range."""
_SEQ: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


@attrs.frozen(kw_only=True)
class RangeRequest:
    """One request for a page of runs: a plan where `from_seq` is None, else a range."""

    before_seq: int | None = None
    """Only runs with a smaller seq; None for the newest."""
    from_seq: int | None = None
    """Only runs with this seq or a greater one; None asks for a plan of all older ones."""
    limit: int = DEFAULT_LIMIT
    """Most rows of the answer."""

    def query(self) -> dict[str, int]:
        """Give the query parameters, without those that are not set."""
        return attrs.asdict(self, filter=lambda _, value: value is not None)

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> RangeRequest:
        """Read the query parameters of a request; others, such as filters, are left alone.

        Raises:
            InvalidInput: One is no number, `limit` is not 1 to `MAX_LIMIT`, or the span is none.
        """
        before_seq, from_seq = _number(query, "before_seq"), _number(query, "from_seq")
        limit = _number(query, "limit")
        if limit is not None and not 1 <= limit <= MAX_LIMIT:
            raise _refused("limit", f"must be 1 to {MAX_LIMIT}, not {limit}")
        if from_seq is not None and (before_seq is None or from_seq >= before_seq):
            raise _refused("from_seq", f"needs a greater before_seq beside it, not {before_seq}")
        return cls(before_seq=before_seq, from_seq=from_seq, limit=DEFAULT_LIMIT if limit is None else limit)

    def __str__(self) -> str:
        span = f"from seq {self.from_seq or 0}" + ("" if self.before_seq is None else f" to before {self.before_seq}")
        return f"the runs {span}"


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not _SEQ.fullmatch(text):
        raise _refused(name, f"must be a whole number, not {text[:40]!r}")
    return int(text)


def _refused(name: str, message: str) -> InvalidInput:
    return InvalidInput(f"{name} {message}", errors=[FieldError(path=f"$.{name}", message=message)])


@attrs.frozen(kw_only=True)
class RunPage(Generic[T]):
    """The answer to one request; the module's docstring says what each field means."""

    items: Sequence[T]
    total: int | None = None
    next: int | None = None
    ranges: Sequence[tuple[int, int]] = ()
    """Pairs of `before_seq` and `from_seq`, newest first."""


def answer_range(request: RangeRequest, rows: Sequence[tuple[int, T]]) -> RunPage[T]:
    """Make the answer to a range.

    Args:
        request: What was asked for, with its `from_seq`.
        rows: Seq and item of the matching rows of the span, newest first: `limit + 1` of them if there are as many.
    """
    more = len(rows) > request.limit
    kept = rows[: request.limit]
    return RunPage(items=[item for _, item in kept], next=kept[-1][0] if more else None)


def answer_plan(
    request: RangeRequest, rows: Sequence[tuple[int, T]], *, total: int, boundaries: Sequence[int]
) -> RunPage[T]:
    """Make the answer to a plan; all arguments come from one snapshot.

    Args:
        request: What was asked for.
        rows: Seq and item of the newest matching rows below `before_seq`, newest first; more than `limit` are cut.
        total: How many rows match below `before_seq`.
        boundaries: Seqs of the matching rows number `limit`, 2 * `limit` and so on below `before_seq`, newest first,
            `MAX_BOUNDARIES` of them if there are as many.
    """
    ends = list(boundaries[:MAX_BOUNDARIES])
    ranges = list(pairwise(ends))
    is_all_covered = total <= len(ends) * request.limit
    goes_on = len(ends) == MAX_BOUNDARIES and not is_all_covered
    if ends and not is_all_covered and not goes_on:
        ranges.append((ends[-1], 0))
    items = [item for _, item in rows[: request.limit]]
    return RunPage(items=items, total=total, ranges=ranges, next=ends[-1] if goes_on else None)


def encode_page(page: RunPage[bytes]) -> bytes:
    """Encode a page whose items are JSON texts already; they are spliced in as they are."""
    items = [orjson.Fragment(item) for item in page.items]
    return orjson.dumps({"items": items, "total": page.total, "ranges": list(page.ranges), "next": page.next})


def read_page(value: Json) -> RunPage[dict[str, Any]]:
    """Read the decoded JSON of an answer; fields that a newer server added are ignored.

    Raises:
        BadResponse: It is not a page.
    """
    if not isinstance(value, dict) or not isinstance(items := value.get("items"), list):
        raise BadResponse("the server's list of runs is no page: it has no `items`; is this a Finetuner server?")
    is_rows = set(map(type, items)) <= {dict}
    if not is_rows or not {type(item.get("seq")) for item in items} <= {int}:
        raise BadResponse("the server's list of runs holds something that is no run; is this a Finetuner server?")
    ranges = value.get("ranges") or []
    is_pairs = isinstance(ranges, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in ranges)
    numbers = [value.get("total"), value.get("next"), *(seq for pair in ranges for seq in pair)] if is_pairs else [""]
    if not all(number is None or type(number) is int for number in numbers[:2]) or not all(
        type(number) is int for number in numbers[2:]
    ):
        raise BadResponse(
            "the server's list of runs is no page: its `total`, `next` or `ranges` are no numbers; is this a Finetuner "
            "server?"
        )
    return RunPage(
        items=items, total=value.get("total"), next=value.get("next"), ranges=[(high, low) for high, low in ranges]
    )


@attrs.define(eq=False)
class _Slot(Generic[T]):
    """The place of one request in the order of the list; `items` is None until it was answered."""

    request: RangeRequest
    items: Sequence[T] | None = None
    is_asked: bool = False


class Pager(Generic[T]):
    """The client's side of one listing: says what to ask for, takes the answers in any order, gives rows in order.

    Rows come newest first, each once. At most `concurrency` requests are out; answers that wait for an older request,
    or for `ready` to be called, together with those requests are at most `max_pages`, and one more where the front
    of the list is what is missing.

    Args:
        limit: Rows of a page, 1 to `MAX_LIMIT`.
        concurrency: Most requests out at one time.
        max_pages: Most pages held or on their way; None for four times `concurrency`.
        seq_of: Gives the seq of a row.

    Example::

        pager = Pager(seq_of=lambda row: row["seq"])
        while not pager.done:
            for request in pager.next_requests():
                start(request)                       # GET /api/v1/runs with request.query() and the filters
            request, body = wait_for_any()
            pager.feed(request, read_page(orjson.loads(body)))
            yield from pager.ready()
    """

    def __init__(
        self,
        *,
        seq_of: Callable[[T], int],
        limit: int = DEFAULT_LIMIT,
        concurrency: int = 16,
        max_pages: int | None = None,
    ) -> None:
        self.total: int | None = None
        """How many runs matched when the listing began; None until the first page is in."""
        self._seq_of = seq_of
        self._concurrency = concurrency
        self._max_pages = 4 * concurrency if max_pages is None else max_pages
        self._slots: deque[_Slot[T]] = deque([_Slot(RangeRequest(limit=limit))])
        self._asked: dict[RangeRequest, _Slot[T]] = {}
        self._held = 0

    @property
    def done(self) -> bool:
        """Whether every page was fed and every row given."""
        return not self._slots

    def next_requests(self) -> list[RangeRequest]:
        """Give the requests to send now; each is given once."""
        new = []
        for slot in self._slots:
            room = self._max_pages - self._held - len(self._asked)
            if len(self._asked) >= self._concurrency or (room <= 0 and slot is not self._slots[0]):
                break
            if not slot.is_asked:
                slot.is_asked = True
                self._asked[slot.request] = slot
                new.append(slot.request)
        return new

    def feed(self, request: RangeRequest, page: RunPage[T]) -> None:
        """Take the answer to a request.

        Args:
            request: One that `next_requests` gave and that was not fed yet.
            page: Its answer.

        Raises:
            BadResponse: The page is not an answer to the request; the request may be sent and fed again.
            KeyError: The request is not out.
        """
        slot = self._asked[request]
        further = _further(request, page, [self._seq_of(item) for item in page.items])
        del self._asked[request]
        slot.items = page.items
        self._held += 1
        if self.total is None:
            self.total = page.total
        place = self._slots.index(slot) + 1
        for index, one in enumerate(further, place):
            self._slots.insert(index, _Slot(one))

    def ready(self) -> list[T]:
        """Give the rows that are next in order and were not given yet."""
        rows: list[T] = []
        while self._slots and (items := self._slots[0].items) is not None:
            rows += items
            self._slots.popleft()
            self._held -= 1
        return rows


def _further(request: RangeRequest, page: RunPage[Any], seqs: Iterable[int]) -> list[RangeRequest]:
    """Give the requests that a page calls for, newest first, once it is sure that none gives a row twice."""
    low, high = request.from_seq or 0, request.before_seq
    for seq in seqs:
        if seq < low or (high is not None and seq >= high):
            raise _odd(request, f"seq {seq} is out of its span, or out of order")
        high = seq
    if page.ranges and request.from_seq is not None:
        raise _odd(request, "it names ranges within a range")
    further = []
    for before_seq, from_seq in page.ranges:
        if (high is not None and before_seq > high) or not low <= from_seq < before_seq:
            raise _odd(request, f"the range {before_seq}, {from_seq} overlaps what came before it")
        high = from_seq
        further.append(RangeRequest(before_seq=before_seq, from_seq=from_seq, limit=request.limit))
    if page.next is not None:
        is_progress = request.before_seq is None or page.next < request.before_seq
        if not is_progress or (high is not None and page.next > high) or page.next <= low:
            raise _odd(request, f"its `next`, {page.next}, leads back")
        further.append(RangeRequest(before_seq=page.next, from_seq=request.from_seq, limit=request.limit))
    return further


def _odd(request: RangeRequest, what: str) -> BadResponse:
    return BadResponse(f"the server's answer for {request} makes no sense: {what}; report this as a bug of the server")
