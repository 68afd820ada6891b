"""The SQL database: engine, sessions and what all tables share.

Everything works on PostgreSQL and on SQLite. The two places where their SQL differs for
us are here: the engine's options and `upsert`. `models.sql.sql_arrays` adds a third.

What an error of the database means is decided here too, by its code: `is_away`.
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
from models.sql.sqlite import InThread, PatientConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection, Dialect, Engine, Insert, Table
    from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
    from sqlalchemy.pool import ConnectionPoolEntry

T = TypeVar("T")

POOL_SIZE = 5
"""Connections of one process, at most: small hosted plans allow 20 in all, and a
request holds one only while it queries."""
WRITERS = 2
"""Of these the ones on which a gateway writes: a write may wait for a lock for seconds,
and the reads of everybody else must not wait behind it."""
SQLITE_OVERFLOW = 10
"""More connections than that, for a while: those to a file cost nobody anything."""
POOL_TIMEOUT_SECONDS = 5
CONNECT_TIMEOUT_SECONDS = 5

ROWS_PER_CALL = 10_000
"""Rows of one `executemany`: about a second's work for the database."""

_WITHOUT_TRANSACTIONS: dict[str, Any] = {
    "isolation_level": "AUTOCOMMIT",
    "skip_autocommit_rollback": True,
}
_ISOLATION_LEVELS = {"sqlite": "SERIALIZABLE", "postgresql": "READ COMMITTED"}
"""Each database's own default."""

NO_TABLES = "the database has no tables yet: run python -m alembic upgrade head"
# PostgreSQL, Appendix A: error codes. Two characters are a whole class.
_UNDEFINED_TABLE = "42P01"
_READ_ONLY = "25006"
# Of a prepared statement whose table has been altered since; a new connection has none.
_NOT_SUPPORTED = "0A000"
_AWAY_STATES = (
    "08",  # the connection has failed
    _NOT_SUPPORTED,
    _READ_ONLY,  # a standby, or writes are switched off
    "40",  # a deadlock, or transactions in each other's way
    "42501",  # a right was taken away
    "53",  # out of disk, memory or connections
    "55",  # a lock is not free; the object is not in the right state
    "57",  # cancelled, shut down, starting up
    "58",  # an error of the system below it
)
# Such a connection stays as it is when the database is well again. One that was made
# while the database took no writes never takes any.
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
_AWAY_CODES = _DROPPING_CODES | {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_SCHEMA,
}

# Ids are ASCII and compared byte by byte, as Python does it. PostgreSQL's default
# collation would order them by the host's language: slower, another order than
# Python's `a < b`, and an index that a new libc can silently break.
Identifier = String(USER_ID_LENGTH).with_variant(
    String(USER_ID_LENGTH, collation="C"), "postgresql"
)


class Base(DeclarativeBase):
    """Base of all tables. Constraints get names, so migrations can address them."""

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
    in_thread: InThread | None = None,
) -> Engine:
    """Make an engine of at most `size` connections; connects only when first used.

    Its connections know no transactions: most of what we do is one reading statement,
    and BEGIN and ROLLBACK would be a round trip each. Writes go through sessions.

    `url` names its driver (`postgresql+psycopg://` or `sqlite:///`), as
    `Settings.database_url` does. The folder of a SQLite file is made. PostgreSQL has to
    answer within seconds, unless it `may_be_slow`, as it may be in a migration.
    `in_thread` is where SQLite does what would keep a gateway waiting.
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
            pool_pre_ping=True,  # a restarted database costs nobody an error
            pool_size=size,
            max_overflow=0,
            pool_timeout=POOL_TIMEOUT_SECONDS,
            **_WITHOUT_TRANSACTIONS,
        )
        if not may_be_slow:
            event.listen(engine, "do_connect", _connect_impatiently)
    event.listen(engine, "handle_error", _drop_what_stays_bad)
    return engine


def _sqlite_engine(url: URL, size: int, in_thread: InThread | None) -> Engine:
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
            "factory": PatientConnection,
            "timeout": 0,  # it waits by itself
            "check_same_thread": False,
        },
        **options,
        **_WITHOUT_TRANSACTIONS,
    )

    def prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        assert isinstance(connection, PatientConnection)  # noqa: S101 - see above
        connection.prepare(in_thread)

    event.listen(engine, "connect", prepare)
    return engine


def transactional(engine: Engine) -> Engine:
    """`engine`, on the same connections, with transactions."""
    level = _ISOLATION_LEVELS[engine.dialect.name]
    return engine.execution_options(isolation_level=level)


def session_factory(engine: Engine) -> sessionmaker[Session]:
    """Sessions on `engine`. The caller commits; leaving the session rolls back."""
    return sessionmaker(transactional(engine), expire_on_commit=False)


def lacks_tables(error: DBAPIError) -> bool:
    """Whether `error` says that no migration has been run on this database."""
    state = getattr(error.orig, "sqlstate", None)
    return state == _UNDEFINED_TABLE or "no such table" in str(error.orig)


def is_away(error: Exception) -> bool:
    """Whether `error` says that the database cannot serve now: it is away, takes no
    writes, or somebody is in the way. Trying again later may help."""
    if isinstance(error, PoolTimeout):
        return True  # those before us wait for the database with every connection
    if not isinstance(error, DBAPIError) or lacks_tables(error):
        return False
    if error.connection_invalidated:
        return True
    state, code = _codes(error.orig)
    if state is not None:
        return state.startswith(_AWAY_STATES)
    if code is not None:
        return code in _AWAY_CODES
    return isinstance(error, OperationalError)  # it could not be asked at all


def what_it_says(error: Exception) -> str:
    """The database's own words, in one line, or what to do where it was never
    migrated."""
    said: object = error
    if isinstance(error, PoolTimeout):
        said = "all connections of this process wait for it"
    elif isinstance(error, DBAPIError):
        said = NO_TABLES if lacks_tables(error) else error.orig
    return " ".join(str(said).split())


def _codes(error: BaseException | None) -> tuple[str | None, int | None]:
    """The SQLSTATE of an error of PostgreSQL, the code of one of SQLite."""
    code = getattr(error, "sqlite_errorcode", None)
    return getattr(error, "sqlstate", None), None if code is None else code & 0xFF


def _drop_what_stays_bad(context: ExceptionContext) -> None:
    """The pool closes connections that the library does not know to be of no use, and
    those of the same age."""
    state, code = _codes(context.original_exception)
    if code in _DROPPING_CODES or (state or "").startswith(_DROPPING_STATES):
        context.is_disconnect = True


def check_writes(sessions: sessionmaker[Session]) -> None:
    """Return if the database takes writes. No row is changed.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: it does not, or lacks our tables.
    """
    with sessions() as session:
        if session.get_bind().dialect.name == "postgresql":
            # It needs the right to write, and a server that lets us.
            session.execute(text("UPDATE users SET display_name = '' WHERE false"))
            return
        # A full disk is noticed only where something is written: one page, here.
        session.execute(text("BEGIN IMMEDIATE"))
        session.execute(text("SELECT 1 FROM users LIMIT 1"))
        version = session.scalar(text("PRAGMA user_version")) or 0
        session.execute(text(f"PRAGMA user_version = {int(version)}"))
        session.commit()


class KeptReader:
    """A connection for reading that is kept from one read to the next: taking one from
    the pool and giving it back takes longer than a small query. For one at a time, who
    comes meanwhile waits; close it at the end. Connects on first use."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept: Connection | None = None
        self._reading = threading.Lock()

    def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` gives, called with the connection. Where that has died since it
        was used last, `work` is called again with a new one.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database is away.
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
            # Stopped in the midst of an answer, maybe: it must not be the next one's.
            kept.invalidate()
            self.close()
            raise

    def close(self) -> None:
        """Give the connection back."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()


def upsert(session: Session, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT into `table` that can take an ON CONFLICT clause."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def execute_many(
    session: Session, statement: Insert, rows: Sequence[dict[str, Any]]
) -> None:
    """Execute `statement` for each of `rows`, in as many calls as it takes for none of
    them to last long: PostgreSQL's answer is waited for within seconds."""
    for start in range(0, len(rows), ROWS_PER_CALL):
        session.execute(statement, rows[start : start + ROWS_PER_CALL])


def table_of(model: type[Base]) -> Table:
    """The table behind `model`, for statements that build no ORM objects."""
    table: Any = model.__table__
    return table  # type: ignore[no-any-return]


def _connect_impatiently(
    _dialect: Dialect,
    _record: ConnectionPoolEntry,
    args: list[Any],
    kwargs: dict[str, Any],
) -> DBAPIConnection:
    # Here, since who runs on SQLite need not have it.
    from models.sql.postgresql import connect  # noqa: PLC0415

    connection: Any = connect(*args, **kwargs)
    return connection  # type: ignore[no-any-return]
