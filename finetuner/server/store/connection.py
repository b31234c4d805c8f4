"""What the store's functions read and write through, in the database's thread or from the event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy import Executable, Row

from finetuner.server.store.statement import Params, Session

T = TypeVar("T")


class Place(Protocol):
    """Where statements are executed: a `Worker`, or `Here`."""

    def visit(self, function: Callable[[Session], T]) -> Awaitable[T]:
        """Call a function with the session."""


class Here:
    """The thread of the session itself: nothing is waited for."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def visit(self, function: Callable[[Session], T]) -> T:
        """Call the function now."""
        return function(self._session)


def driven(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing to its end.

    Raises:
        RuntimeError: It did wait for something.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    coroutine.close()
    raise RuntimeError("a function that the database's thread runs waited for something else than its statements")


class Connection:
    """What the store's functions read through."""

    def __init__(self, place: Place, begin: str | None, *, is_begun: bool = False) -> None:
        self._place = place
        self._begin = begin
        self._is_begun = is_begun

    async def all(self, statement: Executable, params: Params | None = None) -> list[Row[Any]]:
        """Give every row of a query."""
        return await self._visit(lambda session: session.all(statement, params))

    async def first(self, statement: Executable, params: Params | None = None) -> Row[Any] | None:
        """Give the first row of a query, if there is one."""
        return await self._visit(lambda session: session.first(statement, params))

    async def scalar(self, statement: Executable, params: Params | None = None) -> Any:
        """Give the first column of the first row, or None."""
        row = await self.first(statement, params)
        return None if row is None else row[0]

    def _visit(self, function: Callable[[Session], T]) -> Awaitable[T]:
        if self._begin is None or self._is_begun:
            return self._place.visit(function)
        return self._place.visit(lambda session: self._begun(session, function))

    def _begun(self, session: Session, function: Callable[[Session], T]) -> T:
        if self._begin is not None and not self._is_begun:
            session.driver.execute(self._begin)
            self._is_begun = True
        return function(session)

    def ended(self, session: Session, statement: str) -> None:
        """End what was begun, if anything was; called in the session's thread."""
        if self._is_begun:
            self._is_begun = False
            session.end(statement)


class Transaction(Connection):
    """What the store's functions write through; everything in it is kept together, or nothing."""

    def __init__(self, place: Place, *, is_begun: bool = False) -> None:
        super().__init__(place, "BEGIN IMMEDIATE", is_begun=is_begun)
        self.about: set[int | str] = set()
        """The owners, and the ids of the runs, of the changes that this transaction appended."""
        self.has_erased = False
        """It took something out that must be nowhere in the files any more."""

    async def run(self, statement: Executable, params: Params | Sequence[Params] | None = None) -> int:
        """Execute a statement and give the number of rows it met."""
        return await self._visit(lambda session: session.run(statement, params))

    async def insert(self, statement: Executable, params: Params) -> int:
        """Insert a row and give the number its key got."""
        return await self._visit(lambda session: session.insert(statement, params))
