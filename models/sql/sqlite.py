"""A connection to SQLite that never blocks its whole process.

SQLite waits in C: for a lock, for the disk, and for the end of a large query. A gateway
is one thread, so it would answer no heartbeat during that time. Here, a statement that
finds the database locked sleeps and tries again. During the sleep gevent runs other
greenlets. A call that may take long runs in a thread, if the process has given this
module a function that runs calls in threads.

Small reads do not run in a thread. A thread shares the interpreter with the gateway,
and under load each row would take milliseconds. So a read first runs without a thread.
If it takes longer than `READ_LIMIT` seconds, it is stopped and starts again in a
thread.
"""

from __future__ import annotations

import math
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

RunInThread = Callable[[Callable[[], Any]], Any]
"""Calls a function in a thread and returns its result. It returns only after the
function has ended, even if the caller is killed."""

BUSY_TIMEOUT = 4.0
"""Seconds that a statement waits for a lock. It must be less than the 10 s that callers
wait for an answer."""
FIRST_DELAY, LONGEST_DELAY = 0.001, 0.05
"""Seconds between attempts to get a lock: the first delay, and the longest one. After
each attempt the delay doubles."""
READ_LIMIT = 0.02
"""Seconds that a read may block the other greenlets of a gateway."""
FILE_CHECK = 1.0
"""Seconds between two checks of the database's file by reads. Writes always check."""
CHECK_EVERY = 5_000
"""Steps of SQLite's virtual machine between two checks of the time: about 0.1 ms."""

_READS = ("SELECT", "PRAGMA")
"""Statements that may be stopped and repeated. All others must not be stopped: SQLite
rolls back the transaction of a write that is stopped."""
_ISOLATION = "PRAGMA read_uncommitted"
"""SQLAlchemy begins with it before a transaction, and makes no error of its own from
what it raises. It does not use the file, so no check of the file must fail here."""
_PREPARATION = (
    "PRAGMA journal_mode = WAL",  # readers never wait for the writer
    "PRAGMA synchronous = NORMAL",  # safe with WAL, and much faster
    "PRAGMA foreign_keys = ON",
)
_FILE = "SELECT file FROM pragma_database_list WHERE name = 'main'"


class RetryingConnection(sqlite3.Connection):
    """A connection to a database file. Its cursors read all rows at once.

    Raises:
        sqlite3.OperationalError: the lock was not free for `BUSY_TIMEOUT` seconds, or
            the open file was moved or replaced.
    """

    _path = ""
    _file: tuple[int, int] | None = None
    _file_check_at = -math.inf
    _in_thread: RunInThread | None = None
    _stop_at = math.inf

    def prepare(self, in_thread: RunInThread | None) -> None:
        """Prepare a new connection for use."""
        self._in_thread = in_thread
        (self._path,) = sqlite3.Connection.execute(self, _FILE).fetchone()
        self._file = _identity(self._path)
        self.perform(self._set_options)
        self._watch()

    def _set_options(self) -> None:
        for statement in _PREPARATION:
            sqlite3.Connection.execute(self, statement).close()

    def cursor(self, factory: Any = None) -> Any:  # noqa: ANN401 - untyped in the library
        """A cursor whose statements are retried by this connection."""
        return super().cursor(factory or RetryingCursor)

    def commit(self) -> None:
        """Like `sqlite3.Connection.commit`, but retried by `perform`."""
        if self.in_transaction:
            self.perform(super().commit)

    def rollback(self) -> None:
        """Like `sqlite3.Connection.rollback`, but retried by `perform`."""
        if self.in_transaction:
            self.perform(super().rollback)

    def perform(self, call: Callable[[], T], *, is_read: bool = False) -> T:
        """Return the result of `call`. While the database is locked, try it again."""
        now = time.monotonic()
        if not is_read or now >= self._file_check_at:
            self._check_file()
            self._file_check_at = now + FILE_CHECK
        delay, ends = FIRST_DELAY, now + BUSY_TIMEOUT
        while True:
            try:
                return self._read(call) if is_read else self._call_in_thread(call)
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() + delay > ends:
                    raise
            time.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY)

    def _read(self, call: Callable[[], T]) -> T:
        if self._in_thread is None:
            return call()
        self._stop_at = time.monotonic() + READ_LIMIT
        try:
            return call()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
        finally:
            self._stop_at = math.inf
        self.set_progress_handler(None, CHECK_EVERY)
        try:
            return self._call_in_thread(call)
        finally:
            self._watch()

    def _call_in_thread(self, call: Callable[[], T]) -> T:
        if self._in_thread is None:
            return call()
        result: T = self._in_thread(call)
        return result

    def _watch(self) -> None:
        if self._in_thread is not None:
            self.set_progress_handler(self._is_long, CHECK_EVERY)

    def _is_long(self) -> bool:
        return time.monotonic() > self._stop_at

    def _check_file(self) -> None:
        """Raise if the file was moved or replaced. SQLite would continue to write into
        the old file, and those writes would be lost."""
        if self._path and _identity(self._path) != self._file:
            error = sqlite3.OperationalError("the database file was moved or replaced")
            error.sqlite_errorcode = sqlite3.SQLITE_READONLY_DBMOVED
            raise error


class RetryingCursor(sqlite3.Cursor):
    """A cursor whose statements go through `RetryingConnection.perform`."""

    _rows: Iterator[Any] = iter(())

    def execute(self, sql: str, parameters: Any = (), /) -> RetryingCursor:  # noqa: ANN401
        """Like `sqlite3.Cursor.execute`, but retried by `perform`. Reads all rows."""

        def execute() -> list[Any]:
            sqlite3.Cursor.execute(self, sql, parameters)
            return sqlite3.Cursor.fetchall(self)

        if sql.startswith(_ISOLATION):
            self._rows = iter(execute())
        else:
            is_read = sql.startswith(_READS)
            self._rows = iter(self._perform(execute, is_read=is_read))
        return self

    def executemany(self, sql: str, parameters: Any, /) -> RetryingCursor:  # noqa: ANN401
        """Like `sqlite3.Cursor.executemany`, but retried by `perform`."""
        rows = list(parameters)  # the call may be repeated
        self._perform(lambda: sqlite3.Cursor.executemany(self, sql, rows))
        return self

    def fetchone(self) -> Any:  # noqa: ANN401
        """Like `sqlite3.Cursor.fetchone`, from the rows that `execute` has read."""
        return next(self._rows, None)

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """Like `sqlite3.Cursor.fetchmany`, from the rows that `execute` has read."""
        most = self.arraysize if size is None else size
        return [row for _, row in zip(range(most), self._rows, strict=False)]

    def fetchall(self) -> list[Any]:
        """Like `sqlite3.Cursor.fetchall`, from the rows that `execute` has read."""
        return list(self._rows)

    def __iter__(self) -> RetryingCursor:
        return self

    def __next__(self) -> Any:  # noqa: ANN401
        return next(self._rows)

    def _perform(self, call: Callable[[], T], *, is_read: bool = False) -> T:
        connection = self.connection
        assert isinstance(connection, RetryingConnection)  # noqa: S101 - for mypy
        return connection.perform(call, is_read=is_read)


def _identity(path: str) -> tuple[int, int] | None:
    """The device and inode of the file `path`, or None if there is no such file."""
    try:
        found = os.stat(path)  # noqa: PTH116 - faster than Path.stat
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_busy(error: sqlite3.OperationalError) -> bool:
    """Whether another connection holds the lock, so that another attempt may help. It
    cannot help a transaction that began with a read, if another connection has written
    since then (SQLITE_BUSY_SNAPSHOT)."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_BUSY and code != sqlite3.SQLITE_BUSY_SNAPSHOT
