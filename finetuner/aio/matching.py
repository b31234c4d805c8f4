"""Which changes a watch tells: those of runs that match, and the one by which a run matches no longer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from finetuner.aio.feed import Changed, Snapshot
from finetuner.api.selecting import RunFilter
from finetuner.api.types import Change, RunInfo, RunStatus


class Matching:
    """Picks out the changes that concern who watches.

    Args:
        run_ids: Only these runs; None: those of the filter.
        which: The runs that are watched.
        is_resumed: Whether it begins with the changes after a cursor, not with how all runs stand.
    """

    def __init__(self, run_ids: Sequence[str] | None, which: RunFilter, *, is_resumed: bool) -> None:
        self._wanted = None if run_ids is None else dict.fromkeys(run_ids)
        self._which = which
        self._is_all = run_ids is None and which == RunFilter()
        self._known: dict[str, RunStatus] = {}
        """The runs that match, as far as is known."""
        self._others: set[str] | None = set() if is_resumed else None
        """The runs that do not, as far as was heard since the cursor; None: all that are not known."""
        self._gone: set[str] = set()
        """Those of the wanted runs that were deleted."""

    @property
    def is_over(self) -> bool:
        """Whether nothing can come any more: of the runs that were given none is left."""
        return self._wanted is not None and len(self._gone) == len(self._wanted)

    def listed(self, snapshot: Snapshot[RunInfo]) -> Iterator[Change]:
        """Give how the runs stand, and those that are gone."""
        there: dict[str, RunStatus] = {}
        for run in snapshot.runs.values():
            did_match = self._known.pop(run.id, None) is not None
            if self._which.matches(run):
                there[run.id] = run.status
            if did_match or run.id in there:
                yield Change(cursor=snapshot.cursor, kind="snapshot", run_id=run.id, after=run.status, run=run)
        for run_id in self._known if self._wanted is None else self._wanted:
            if run_id not in there and run_id not in self._gone:
                self._note_gone(run_id)
                yield Change(cursor=snapshot.cursor, kind="deleted", run_id=run_id, before=self._known.get(run_id))
        self._known, self._others = there, None

    def changed(self, item: Changed) -> list[Change]:
        """Give the change if it concerns who watches."""
        change, run_id = item.change, item.change.run_id
        if self._wanted is not None and run_id not in self._wanted:
            return []
        did_match = self._did_match(change)
        self._known.pop(run_id, None)
        if change.kind == "deleted":
            self._note_gone(run_id)
        # Of a run that is gone meanwhile, only its id and its statuses are left: its deletion is still to be told.
        is_matching = did_match and change.kind != "deleted" if change.run is None else self._which.matches(change.run)
        if is_matching:
            self._known[run_id] = change.after or RunStatus.CREATED
        elif self._others is not None:
            self._others.add(run_id)
        return [change] if is_matching or did_match else []

    def _did_match(self, change: Change) -> bool:
        """Say whether a run matched before it changed so."""
        if self._is_all or self._wanted is not None or change.run_id in self._known:
            return True
        if self._others is None or change.run_id in self._others or change.before is None:
            return False
        # Not heard of since the cursor: the change says how it stood there, in part.
        if change.run is None:
            return not self._which.status or change.before in self._which.status
        then = attrs.evolve(change.run, status=change.before)
        return self._which.matches(then if change.before.is_terminal else attrs.evolve(then, finished_at=None))

    def _note_gone(self, run_id: str) -> None:
        if self._wanted is not None:
            self._gone.add(run_id)
