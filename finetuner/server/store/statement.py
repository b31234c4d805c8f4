"""A statement of SQLAlchemy, compiled once, and executed by SQLite's own driver.

SQLAlchemy's own way to execute costs three times what SQLite needs for a row that is found by its key.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

import orjson
from sqlalchemy import ColumnElement, Executable, Insert, Row, Update, bindparam, func, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.sql.compiler import SQLCompiler

Params = Mapping[str, Any]
DIALECT: Final = sqlite.dialect(paramstyle="named")
_LOG_PAGES: Final = 8000
"""Of 4 KiB: with so many the write-ahead log is copied by whoever commits; `WriteAheadLog` does it before."""


def among(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Give the condition that a column is one of the values given under a name, as `listed` writes them."""
    return column.in_(select(func.json_each(bindparam(name)).table_valued("value").c.value))


def listed(values: Iterable[str | int]) -> str:
    """Write values for `among`."""
    return orjson.dumps(list(values)).decode()


class Statement:
    """What SQLite is given, and what its rows mean.

    Args:
        statement: Of SQLAlchemy; an `IN` over a list has the list in itself.
        columns: Names of the values that an `INSERT` or an `UPDATE` is given; those of columns are written there.
    """

    def __init__(self, statement: Executable, columns: Sequence[str] | None = None) -> None:
        compiled = cast("SQLCompiler", statement.compile(dialect=DIALECT, column_keys=columns))  # type: ignore[attr-defined]
        required = {name for name, bound in compiled.binds.items() if bound.required}
        expanded = compiled.construct_expanded_state(dict.fromkeys(required))
        self.text: Final = expanded.statement
        self._known = {name: value for name, value in expanded.parameters.items() if name not in required}
        # The values of a list have theirs in what was expanded, all others in what was compiled.
        self._writers: Mapping[str, Any] = {**compiled._bind_processors, **expanded.processors}  # noqa: SLF001
        # What changes data gives no rows, whatever the compiler notes of its columns.
        columns_of = [] if compiled.isinsert or compiled.isupdate or compiled.isdelete else compiled._result_columns  # noqa: SLF001
        readers = [column.type.dialect_impl(DIALECT).result_processor(DIALECT, None) for column in columns_of]
        self._meta = SimpleResultMetaData([column.keyname for column in columns_of])
        self._readers = readers if any(readers) else None

    def bound(self, params: Params | None) -> dict[str, Any]:
        """Give the values as SQLite takes them."""
        values = {**self._known, **(params or {})}
        for name, write in self._writers.items():
            if name in values:
                values[name] = write(values[name])
        return values

    def rows(self, found: Iterable[tuple[Any, ...]]) -> list[Row[Any]]:
        """Give what SQLite found as rows with names."""
        meta, readers, places = self._meta, self._readers, self._meta._key_to_index  # noqa: SLF001 - as a result has it
        return [Row(meta, readers, places, one) for one in found]


class Session:
    """One connection to SQLite, used in one thread.

    Statements are compiled once an object: those that are asked often are made once, when their module is loaded.

    Args:
        path: The file.
        busy_timeout_s: How long to wait for another process that writes.
    """

    def __init__(self, path: str, busy_timeout_s: float) -> None:
        # NORMAL loses no commit when the process is killed, and never the database's integrity.
        pragmas = (
            "journal_mode=WAL",
            "synchronous=NORMAL",
            "foreign_keys=ON",
            "temp_store=MEMORY",
            "secure_delete=ON",
            f"wal_autocheckpoint={_LOG_PAGES}",
        )
        self.driver: Final = sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None, cached_statements=256)
        for pragma in pragmas:
            self.driver.execute(f"PRAGMA {pragma}").close()
        self._statements: WeakKeyDictionary[Executable, dict[tuple[str, ...] | None, Statement]] = WeakKeyDictionary()

    def all(self, statement: Executable, params: Params | None = None) -> list[Row[Any]]:
        """Give every row of a query."""
        known = self._statement(statement)
        return known.rows(self.driver.execute(known.text, known.bound(params)).fetchall())

    def first(self, statement: Executable, params: Params | None = None) -> Row[Any] | None:
        """Give the first row of a query, if there is one."""
        known = self._statement(statement)
        cursor = self.driver.execute(known.text, known.bound(params))
        found = cursor.fetchone()
        cursor.close()
        return None if found is None else known.rows([found])[0]

    def run(self, statement: Executable, params: Params | Sequence[Params] | None = None) -> int:
        """Execute a statement and give the number of rows it met."""
        if params is None or isinstance(params, Mapping):
            known = self._statement(statement, params)
            return self.driver.execute(known.text, known.bound(params)).rowcount
        known = self._statement(statement, params[0])
        return self.driver.executemany(known.text, [known.bound(one) for one in params]).rowcount

    def insert(self, statement: Executable, params: Params) -> int:
        """Insert a row and give the number its key got."""
        known = self._statement(statement, params)
        return int(self.driver.execute(known.text, known.bound(params)).lastrowid or 0)

    def end(self, statement: str) -> None:
        """End a transaction; whatever fails in that, none is open after it."""
        # A full disk makes SQLite roll back by itself; then a COMMIT must fail, and a ROLLBACK has nothing to do.
        if statement == "ROLLBACK" and not self.driver.in_transaction:
            return
        try:
            self.driver.execute(statement)
        finally:
            if self.driver.in_transaction:
                self.driver.execute("ROLLBACK")

    def close(self) -> None:
        """Close the connection."""
        self.driver.close()

    def _statement(self, statement: Executable, params: Params | None = None) -> Statement:
        columns = tuple(params) if params is not None and isinstance(statement, Insert | Update) else None
        of_columns = self._statements.setdefault(statement, {})
        if (known := of_columns.get(columns)) is None:
            known = of_columns[columns] = Statement(statement, columns)
        return known
