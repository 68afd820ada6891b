"""The SQL database: engine, sessions and what all tables share.

Everything works on PostgreSQL and on SQLite. The two places where their SQL differs for
us are here: the engine's options and `upsert`. `models.lists` adds a third.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import MetaData, String, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

from models.identifiers import USER_ID_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection, Dialect, Engine, Insert, Table
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

T = TypeVar("T")

# A process takes at most this many database connections: small hosted plans allow 20
# in all, and a request holds one only while it queries.
POOL_SIZE = 5
POOL_TIMEOUT_SECONDS = 10
CONNECT_TIMEOUT_SECONDS = 5

SQLITE_BUSY_TIMEOUT_MS = 5000
ROWS_PER_CALL = 10_000
"""Rows of one `executemany`: about a second's work for the database."""

_WITHOUT_TRANSACTIONS: dict[str, Any] = {
    "isolation_level": "AUTOCOMMIT",
    "skip_autocommit_rollback": True,
}
_ISOLATION_LEVELS = {"sqlite": "SERIALIZABLE", "postgresql": "READ COMMITTED"}
"""Each database's own default."""

NO_TABLES = "the database has no tables yet: run python -m alembic upgrade head"
_UNDEFINED_TABLE = "42P01"  # PostgreSQL, Appendix A: error codes

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


def make_engine(url: str, *, may_be_slow: bool = False) -> Engine:
    """Make the engine of a process; connects only when first used.

    Its connections know no transactions: most of what we do is one reading statement,
    and BEGIN and ROLLBACK would be a round trip each. Writes go through sessions.

    `url` names its driver (`postgresql+psycopg://` or `sqlite:///`), as
    `Settings.database_url` does. The folder of a SQLite file is made. PostgreSQL has to
    answer within seconds, unless it `may_be_slow`, as it may be in a migration.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        if parsed.database and parsed.database != ":memory:":
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(parsed, **_WITHOUT_TRANSACTIONS)
        event.listen(engine, "connect", _prepare_sqlite)
        return engine
    engine = create_engine(
        parsed,
        connect_args=(
            {}
            if "connect_timeout" in parsed.query
            else {"connect_timeout": CONNECT_TIMEOUT_SECONDS}
        ),
        pool_pre_ping=True,  # a restarted database costs nobody an error
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        **_WITHOUT_TRANSACTIONS,
    )
    if not may_be_slow:
        event.listen(engine, "do_connect", _connect_impatiently)
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


def what_it_says(error: DBAPIError) -> str:
    """The database's own words, or what to do where it was never migrated."""
    return NO_TABLES if lacks_tables(error) else str(error.orig)


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
    from models.postgresql import ImpatientConnection  # noqa: PLC0415

    connection: Any = ImpatientConnection.connect(*args, **kwargs)
    return connection  # type: ignore[no-any-return]


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    # First of all, so that the switch to WAL waits for its turn as well.
    cursor.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")  # readers never wait for the writer
    cursor.execute("PRAGMA synchronous = NORMAL")  # safe with WAL, and much faster
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()
