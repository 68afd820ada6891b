"""A connection to SQLite that never makes its whole process wait.

SQLite waits in C: for a lock, for the disk, and for the end of a large query. A gateway
is one thread, so meanwhile it would answer no heartbeat. Here the wait for a lock is a
retry with a sleep in between, which under gevent lets the others run. What may take
long is handed to a thread, if the process has given a way to do that.

Small reads stay where they are. A thread would share the interpreter with the gateway:
under load each row would cost it milliseconds. So a read may take `AT_ONCE` seconds;
a longer one is stopped, and begins again in a thread.
"""

from __future__ import annotations

import math
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

InThread = Callable[[Callable[[], Any]], Any]
"""Calls a function in a thread, and gives what it gives. Does not return before the
function has ended, not even if the caller is stopped."""

BUSY_PATIENCE = 4.0
"""Seconds that a statement waits for a lock: a caller's own patience may be 10."""
FIRST_DELAY, LONGEST_DELAY = 0.001, 0.05
"""Seconds between two attempts to get a lock; each delay is twice the one before."""
AT_ONCE = 0.02
"""Seconds that a read may keep everybody else in a gateway waiting."""
LOOK_EVERY = 5_000
"""Steps of SQLite's machine between two looks at the time: a tenth of a millisecond."""

_READS = ("SELECT", "PRAGMA")
"""What may be stopped and done again: a write that is stopped ends its transaction."""
_PREPARATION = (
    "PRAGMA journal_mode = WAL",  # readers never wait for the writer
    "PRAGMA synchronous = NORMAL",  # safe with WAL, and much faster
    "PRAGMA foreign_keys = ON",
)
_FILE = "SELECT file FROM pragma_database_list WHERE name = 'main'"


class PatientConnection(sqlite3.Connection):
    """A connection to a file; its cursors read all rows at once.

    Raises:
        sqlite3.OperationalError: the lock was not free for `BUSY_PATIENCE` seconds, or
            another file has taken the place of the one that is open here.
    """

    _path = ""
    _file: tuple[int, int] | None = None
    _in_thread: InThread | None = None
    _stop_at = math.inf

    def prepare(self, in_thread: InThread | None) -> None:
        """Make the connection, which is new, ready for use."""
        self._in_thread = in_thread
        (self._path,) = sqlite3.Connection.execute(self, _FILE).fetchone()
        self._file = _identity(self._path)
        self.perform(self._set_options)
        self._watch()

    def _set_options(self) -> None:
        for statement in _PREPARATION:
            sqlite3.Connection.execute(self, statement).close()

    def cursor(self, factory: Any = None) -> Any:  # noqa: ANN401 - as the library has it
        """A cursor whose statements wait as this connection does."""
        return super().cursor(factory or PatientCursor)

    def commit(self) -> None:
        """As the library's."""
        if self.in_transaction:
            self.perform(super().commit)

    def rollback(self) -> None:
        """As the library's."""
        if self.in_transaction:
            self.perform(super().rollback)

    def perform(self, call: Callable[[], T], *, is_read: bool = False) -> T:
        """What `call` gives, tried again while somebody else holds the lock."""
        self._check_file()
        delay, ends = FIRST_DELAY, time.monotonic() + BUSY_PATIENCE
        while True:
            try:
                return self._read(call) if is_read else self._apart(call)
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() + delay > ends:
                    raise
            time.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY)

    def _read(self, call: Callable[[], T]) -> T:
        if self._in_thread is None:
            return call()
        self._stop_at = time.monotonic() + AT_ONCE
        try:
            return call()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
        finally:
            self._stop_at = math.inf
        self.set_progress_handler(None, LOOK_EVERY)
        try:
            return self._apart(call)
        finally:
            self._watch()

    def _apart(self, call: Callable[[], T]) -> T:
        if self._in_thread is None:
            return call()
        result: T = self._in_thread(call)
        return result

    def _watch(self) -> None:
        if self._in_thread is not None:
            self.set_progress_handler(self._is_long, LOOK_EVERY)

    def _is_long(self) -> bool:
        return time.monotonic() > self._stop_at

    def _check_file(self) -> None:
        """SQLite would go on with a file that has no name any more, and what is written
        there is lost."""
        if self._path and _identity(self._path) != self._file:
            error = sqlite3.OperationalError("the database file was moved or replaced")
            error.sqlite_errorcode = sqlite3.SQLITE_READONLY_DBMOVED
            raise error


class PatientCursor(sqlite3.Cursor):
    """Statements as `PatientConnection.perform` does them."""

    _rows: Iterator[Any] = iter(())

    def execute(self, sql: str, parameters: Any = (), /) -> PatientCursor:  # noqa: ANN401
        """As the library's, but all rows are read."""

        def execute() -> list[Any]:
            sqlite3.Cursor.execute(self, sql, parameters)
            return sqlite3.Cursor.fetchall(self)

        is_read = sql.startswith(_READS)
        self._rows = iter(self._performed(execute, is_read=is_read))
        return self

    def executemany(self, sql: str, parameters: Any, /) -> PatientCursor:  # noqa: ANN401
        """As the library's."""
        rows = list(parameters)  # it may be tried again
        self._performed(lambda: sqlite3.Cursor.executemany(self, sql, rows))
        return self

    def fetchone(self) -> Any:  # noqa: ANN401
        """As the library's."""
        return next(self._rows, None)

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """As the library's."""
        most = self.arraysize if size is None else size
        return [row for _, row in zip(range(most), self._rows, strict=False)]

    def fetchall(self) -> list[Any]:
        """As the library's."""
        return list(self._rows)

    def __iter__(self) -> PatientCursor:
        return self

    def __next__(self) -> Any:  # noqa: ANN401
        return next(self._rows)

    def _performed(self, call: Callable[[], T], *, is_read: bool = False) -> T:
        connection = self.connection
        assert isinstance(connection, PatientConnection)  # noqa: S101 - it made us
        return connection.perform(call, is_read=is_read)


def _identity(path: str) -> tuple[int, int] | None:
    """Which file has the name `path` now; None where none has."""
    try:
        found = os.stat(path)  # noqa: PTH116 - each statement asks
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_busy(error: sqlite3.OperationalError) -> bool:
    """Whether trying again may help: somebody else holds the lock. A transaction that
    began with a read, and was overtaken by another writer, stays behind it."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_BUSY and code != sqlite3.SQLITE_BUSY_SNAPSHOT
