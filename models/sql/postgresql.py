"""A connection to PostgreSQL with a time limit for each answer.

If a host disappears, or a firewall forgets a connection, a query waits until TCP gives
up, which takes a quarter of an hour. During that time the process would occupy a
connection of the pool, and a drainer would keep its lease.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.abc import RV, PQGen

ANSWER_TIMEOUT_SECONDS = 10.0
"""How long one answer may take. Most answers take milliseconds. That to a bulk call
takes a second."""
RUNS_BEFORE_PREPARING = 5
"""psycopg's default. A prepared audience query takes a half to a fifth of the time."""


def connect(*args: Any, **kwargs: Any) -> TimeoutConnection:  # noqa: ANN401
    """A new connection. It prepares statements if that is safe.

    Behind a pooler such as PgBouncer each transaction may use another server
    connection, which does not know the statements that were prepared before. A pooler
    tells its clients invented process ids, which differ from what the server says.
    """
    connection = TimeoutConnection.connect(*args, **kwargs)
    try:
        connection.autocommit = True
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        connection.autocommit = False
    except BaseException:
        connection.close()
        raise
    is_direct = row is not None and row[0] == connection.info.backend_pid
    connection.prepare_threshold = RUNS_BEFORE_PREPARING if is_direct else None
    return connection


class TimeoutConnection(psycopg.Connection[Any]):
    """A connection that closes itself if an answer takes too long.

    Raises:
        psycopg.OperationalError: there was no answer in time. SQLAlchemy then drops
            this connection, and those of the pool that are as old.
    """

    def wait(
        self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None
    ) -> RV:
        """Wait for an answer. psycopg calls this for each one."""
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, ANSWER_TIMEOUT_SECONDS)
        except psycopg.errors._WaitTimeout as error:  # noqa: SLF001 - it has no other name
            self.pgconn.finish()
            message = f"no answer for {ANSWER_TIMEOUT_SECONDS:g} s, connection closed"
            raise psycopg.OperationalError(message) from error
