"""What the list of runs shows, as its address says: filters, order and place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args
from urllib.parse import urlencode

import attrs
from multidict import MultiMapping

from finetuner.api.types import RunStatus, Task

Sort = Literal["newest", "oldest", "name", "longest", "shortest"]
SORTS: Final[tuple[Sort, ...]] = get_args(Sort)
_TEXTS: Final = ("q", "experiment", "tag")


@attrs.frozen(kw_only=True)
class ListQuery:
    """The query of the list's address; what cannot be understood is left out, as a page has nobody to refuse."""

    q: str = ""
    """Part of a name, in any case."""
    status: RunStatus | None = None
    experiment: str = ""
    tag: str = ""
    task: Task | None = None
    sort: Sort = "newest"
    before: int | None = None
    """Newest and oldest first: only runs with a smaller `seq`."""
    after: int | None = None
    """Newest and oldest first: only runs with a greater `seq`."""
    page: int = 1
    """Other orders: the number of the page."""

    @classmethod
    def read(cls, query: MultiMapping[str]) -> ListQuery:
        """Read a query."""
        values: dict[str, Any] = {name: query.get(name, "").strip()[:200] for name in _TEXTS}
        for name, kind in (("status", RunStatus), ("task", Task)):
            if query.get(name) in {one.value for one in kind}:
                values[name] = kind(query[name])
        if query.get("sort") in SORTS:
            values["sort"] = query["sort"]
        for name in ("before", "after", "page"):
            number = query.get(name, "")
            if number.isascii() and number.isdigit() and len(number) <= 15:
                values[name] = max(int(number), 1 if name == "page" else 0)
        return cls(**values)

    @property
    def is_filtered(self) -> bool:
        """Whether some runs are left out."""
        return bool(self.q or self.status or self.experiment or self.tag or self.task)

    @property
    def is_by_seq(self) -> bool:
        """Whether pages are told apart by `seq`, so that no run is lost or doubled between them."""
        return self.sort in {"newest", "oldest"}

    def filters(self) -> Mapping[str, str]:
        """Give the filters alone, as they stand in an address."""
        named = {"q": self.q, "status": self.status, "experiment": self.experiment, "tag": self.tag, "task": self.task}
        return {name: str(value) for name, value in named.items() if value}

    def url(self, **changes: Any) -> str:
        """Give the address of the list with some things changed; it begins at its first page unless that is said."""
        new = attrs.evolve(self, **{"before": None, "after": None, "page": 1, **changes})
        pairs: dict[str, object] = dict(new.filters())
        if new.sort != "newest":
            pairs["sort"] = new.sort
        if new.before is not None:
            pairs["before"] = new.before
        if new.after is not None:
            pairs["after"] = new.after
        if new.page > 1:
            pairs["page"] = new.page
        return "/console/" + (f"?{urlencode(pairs)}" if pairs else "")
