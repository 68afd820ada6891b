"""The SQL database: engine, sessions, errors, and what all tables share.

Everything works on PostgreSQL and on SQLite. Their SQL differs for us in three places:
the engine's options and `upsert`, which are here, and `models.sql.sql_arrays`.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import MetaData, String, create_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

from models.identifiers import USER_ID_LENGTH
from models.sql.sqlite import RetryingConnection, RunInThread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection, Delete, Dialect, Engine, Insert, Table
    from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
    from sqlalchemy.pool import ConnectionPoolEntry

T = TypeVar("T")

POOL_SIZE = 5
"""Maximum of connections per process. Small hosted plans allow 20 in all. A request
holds one only during a query."""
WRITERS = 2
"""How many of these connections a gateway uses for writes only. A write may wait for a
lock for seconds, and reads must not wait behind it."""
SQLITE_OVERFLOW = 10
"""Temporary connections beyond POOL_SIZE. Connections to a file are cheap."""
POOL_TIMEOUT_SECONDS = 5
CONNECT_TIMEOUT_SECONDS = 5

ROWS_PER_CALL = 10_000
"""Rows of one `executemany`. So many rows take the database about a second."""

_WITHOUT_TRANSACTIONS: dict[str, Any] = {
    "isolation_level": "AUTOCOMMIT",
    "skip_autocommit_rollback": True,
}
_ISOLATION_LEVELS = {"sqlite": "SERIALIZABLE", "postgresql": "READ COMMITTED"}
"""The default of each database."""

NO_TABLES = "the database has no tables yet: run python -m alembic upgrade head"
# PostgreSQL, Appendix A: error codes. Two characters stand for a class.
_UNDEFINED_TABLE = "42P01"
_READ_ONLY = "25006"
# The table of a prepared statement was altered. A new connection has no prepared
# statements.
_NOT_SUPPORTED = "0A000"
_UNAVAILABLE_STATES = (
    "08",  # the connection has failed
    _NOT_SUPPORTED,
    _READ_ONLY,  # a standby, or writes are disabled
    "40",  # a deadlock, or conflicting transactions
    "42501",  # a permission is missing
    "53",  # out of disk, memory or connections
    "55",  # a lock is not free, or the object is in another state
    "57",  # cancelled, shutting down or starting
    "58",  # an error of the operating system
)
# After such an error a connection stays broken, even when the database works again. A
# connection that was made while the database accepted no writes never accepts writes.
_DROPPING_STATES = ("08", _NOT_SUPPORTED, _READ_ONLY, "57P")
# SQLite, Result Codes: the last eight bits.
_DROPPING_CODES = {
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOTADB,
}
_UNAVAILABLE_CODES = _DROPPING_CODES | {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_SCHEMA,
}

# Ids are ASCII and compared byte by byte, as in Python. PostgreSQL's default collation
# follows the host's language. It is slower, its order is not that of Python's `a < b`,
# and a new libc can silently break its indexes.
Identifier = String(USER_ID_LENGTH).with_variant(
    String(USER_ID_LENGTH, collation="C"), "postgresql"
)


class Base(DeclarativeBase):
    """Base of all tables. Constraints get names, so that migrations can refer to
    them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def make_engine(
    url: str,
    *,
    size: int = POOL_SIZE,
    may_be_slow: bool = False,
    in_thread: RunInThread | None = None,
) -> Engine:
    """Make an engine with at most `size` connections. Connects on first use.

    Its connections use no transactions: most work is one SELECT, and BEGIN and ROLLBACK
    would be a round trip each. Writes go through sessions, which use transactions.

    `url` names its driver (`postgresql+psycopg://` or `sqlite:///`), as
    `Settings.database_url` does. The folder of a SQLite file is created. PostgreSQL
    must answer within seconds, unless `may_be_slow`, for example in a migration. With
    SQLite, slow calls go through `in_thread`, so that they do not block a gateway.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = _sqlite_engine(parsed, size, in_thread)
    else:
        connect_args: dict[str, Any] = {"prepare_threshold": None}
        if "connect_timeout" not in parsed.query:
            connect_args["connect_timeout"] = CONNECT_TIMEOUT_SECONDS
        engine = create_engine(
            parsed,
            connect_args=connect_args,
            pool_pre_ping=True,  # no error after the database was restarted
            pool_size=size,
            max_overflow=0,
            pool_timeout=POOL_TIMEOUT_SECONDS,
            **_WITHOUT_TRANSACTIONS,
        )
        if not may_be_slow:
            event.listen(engine, "do_connect", _connect_with_timeout)
    event.listen(engine, "handle_error", _drop_broken)
    return engine


def _sqlite_engine(url: URL, size: int, in_thread: RunInThread | None) -> Engine:
    options: dict[str, Any] = {}
    if url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        options = {
            "pool_size": size,
            "max_overflow": SQLITE_OVERFLOW,
            "pool_timeout": POOL_TIMEOUT_SECONDS,
        }
    engine = create_engine(
        url,
        connect_args={
            "factory": RetryingConnection,
            "timeout": 0,  # the class waits by itself
            "check_same_thread": False,
        },
        **options,
        **_WITHOUT_TRANSACTIONS,
    )

    def prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        assert isinstance(connection, RetryingConnection)  # noqa: S101 - see above
        connection.prepare(in_thread)

    event.listen(engine, "connect", prepare)
    return engine


def transactional(engine: Engine) -> Engine:
    """`engine` with transactions, on the same connections."""
    level = _ISOLATION_LEVELS[engine.dialect.name]
    return engine.execution_options(isolation_level=level)


def session_factory(engine: Engine) -> sessionmaker[Session]:
    """Sessions on `engine`. The caller commits. Leaving a session rolls back."""
    return sessionmaker(transactional(engine), expire_on_commit=False)


def lacks_tables(error: DBAPIError) -> bool:
    """Whether `error` says that the database was never migrated."""
    state = getattr(error.orig, "sqlstate", None)
    return state == _UNDEFINED_TABLE or "no such table" in str(error.orig)


def is_unavailable(error: Exception) -> bool:
    """Whether `error` says that the database cannot serve now: it is unreachable,
    accepts no writes, or another transaction is in conflict. A later attempt may
    succeed."""
    if isinstance(error, PoolTimeout):
        return True  # other callers hold all connections and wait for the database
    if not isinstance(error, DBAPIError) or lacks_tables(error):
        return False
    if error.connection_invalidated:
        return True
    state, code = _codes(error.orig)
    if state is not None:
        return state.startswith(_UNAVAILABLE_STATES)
    if code is not None:
        return code in _UNAVAILABLE_CODES
    return isinstance(error, OperationalError)  # there was no connection


def error_text(error: Exception) -> str:
    """The database's message as one line. If the database was never migrated, the line
    says what to do."""
    said: object = error
    if isinstance(error, PoolTimeout):
        said = "all connections of this process wait for the database"
    elif isinstance(error, DBAPIError):
        said = NO_TABLES if lacks_tables(error) else error.orig
    return " ".join(str(said).split())


def _codes(error: BaseException | None) -> tuple[str | None, int | None]:
    """The SQLSTATE of a PostgreSQL error, and the code of a SQLite error."""
    code = getattr(error, "sqlite_errorcode", None)
    return getattr(error, "sqlstate", None), None if code is None else code & 0xFF


def _drop_broken(context: ExceptionContext) -> None:
    """Have the pool close a connection that is broken, if SQLAlchemy does not notice
    this by itself. The pool then also closes all connections that are as old."""
    state, code = _codes(context.original_exception)
    if code in _DROPPING_CODES or (state or "").startswith(_DROPPING_STATES):
        context.is_disconnect = True


def check_answers(engine: Engine) -> None:
    """Check that the database answers a small query. It may still refuse writes.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: it does not answer.
    """
    query = "SELECT 1"
    if engine.dialect.name == "sqlite":
        # SQLite answers the query above without a look at its file. If the file is
        # gone, a new connection makes an empty one.
        query = "SELECT 1 FROM users LIMIT 1"
    with engine.connect() as connection:
        connection.execute(text(query))


def check_writes(sessions: sessionmaker[Session]) -> None:
    """Check that the database accepts writes. Changes no row.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: it accepts no writes, or has no tables of ours.
    """
    with sessions() as session:
        if session.get_bind().dialect.name == "postgresql":
            # This needs the permission to write, and a server that accepts writes.
            session.execute(text("UPDATE users SET display_name = '' WHERE false"))
            return
        # Only a real write shows that the disk is full. This one writes one page.
        session.execute(text("BEGIN IMMEDIATE"))
        session.execute(text("SELECT 1 FROM users LIMIT 1"))
        version = session.scalar(text("PRAGMA user_version")) or 0
        session.execute(text(f"PRAGMA user_version = {int(version)}"))
        session.commit()


class PersistentReader:
    """A connection that is kept between reads, because taking one from the pool takes
    longer than a small query. One caller reads at a time; others wait. Connects on
    first use. Close it at the end."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept: Connection | None = None
        self._reading = threading.Lock()

    def read(self, work: Callable[[Connection], T]) -> T:
        """Call `work` with the connection and return its result. If the connection has
        died since its last use, call `work` again with a new one.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database is down.
        """
        with self._reading:
            if self._kept is not None:
                try:
                    return self._attempt(self._kept, work)
                except DBAPIError as error:
                    if not error.connection_invalidated:
                        raise
            self._kept = self._engine.connect()
            return self._attempt(self._kept, work)

    def _attempt(self, kept: Connection, work: Callable[[Connection], T]) -> T:
        try:
            return work(kept)
        except DBAPIError:
            self.close()
            raise
        except BaseException:
            # The answer may be unread. The next query would take it for its own.
            kept.invalidate()
            self.close()
            raise

    def close(self) -> None:
        """Give the connection back to the pool."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()


def upsert(session: Session, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT into `table` to which an ON CONFLICT clause can be added."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def execute_many(
    session: Session, statement: Insert | Delete, rows: Sequence[dict[str, Any]]
) -> None:
    """Execute `statement` for each of `rows`, with at most ROWS_PER_CALL rows in a
    call: PostgreSQL must answer each call within seconds."""
    for start in range(0, len(rows), ROWS_PER_CALL):
        session.execute(statement, rows[start : start + ROWS_PER_CALL])


def table_of(model: type[Base]) -> Table:
    """The table of `model`, for statements that make no ORM objects."""
    table: Any = model.__table__
    return table  # type: ignore[no-any-return]


def _connect_with_timeout(
    _dialect: Dialect,
    _record: ConnectionPoolEntry,
    args: list[Any],
    kwargs: dict[str, Any],
) -> DBAPIConnection:
    # Imported here, because psycopg is not needed with SQLite.
    from models.sql.postgresql import connect  # noqa: PLC0415

    connection: Any = connect(*args, **kwargs)
    return connection  # type: ignore[no-any-return]
