"""Several transactions in one commit: those that wait for the writer at the same time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Generic, TypeVar

from finetuner.server.store.connection import Here, Transaction, driven
from finetuner.server.store.statement import Session

T = TypeVar("T")


class Write(Generic[T]):
    """A function that writes as one transaction, and what came of it once that is in the database.

    Args:
        function: What writes. It is called again where a transaction that it shared with others failed.
    """

    def __init__(self, function: Callable[[Transaction], Coroutine[Any, Any, T]]) -> None:
        self.function = function
        self.transaction: Transaction | None = None
        """Set once it is done, even if the function failed."""
        self.error: BaseException | None = None
        self._values: list[T] = []

    def call(self, transaction: Transaction) -> None:
        """Call the function.

        Raises:
            BaseException: What the function raises; it is kept in `error` too.
        """
        self.error = None
        try:
            self._values = [driven(self.function(transaction))]
        except BaseException as error:
            self.error = error
            raise

    def value(self) -> T:
        """Give what the function returned.

        Raises:
            BaseException: What it raised, or what kept it from being committed.
        """
        if self.error is not None:
            raise self.error
        return self._values[0]


def commit(session: Session, writes: Sequence[Write[Any]]) -> None:
    """Run transactions and commit them, together where that can be; an error of one is no error of another."""
    if len(writes) > 1:
        try:
            _commit_together(session, writes)
        except sqlite3.Error:
            # Together they could not; alone each has its own success or its own error.
            session.end("ROLLBACK")
        else:
            return
    for write in writes:
        _commit_alone(session, write)


def _commit_together(session: Session, writes: Iterable[Write[Any]]) -> None:
    session.driver.execute("BEGIN IMMEDIATE")
    done: list[tuple[Write[Any], Transaction]] = []
    for write in writes:
        transaction = Transaction(Here(session), is_begun=True)
        session.driver.execute("SAVEPOINT one")
        try:
            write.call(transaction)
        except BaseException:  # noqa: BLE001 - it is kept for whoever awaits this one
            transaction = Transaction(Here(session), is_begun=True)
            session.driver.execute("ROLLBACK TO one")
        session.driver.execute("RELEASE one")
        done.append((write, transaction))
    session.end("COMMIT")
    for write, transaction in done:
        write.transaction = transaction


def _commit_alone(session: Session, write: Write[Any]) -> None:
    transaction = Transaction(Here(session))
    try:
        write.call(transaction)
        transaction.ended(session, "COMMIT")
    except BaseException as error:  # noqa: BLE001 - it is kept for whoever awaits this one
        write.error = error
        transaction.ended(session, "ROLLBACK")
        transaction = Transaction(Here(session))
    write.transaction = transaction
