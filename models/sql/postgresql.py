"""A connection to PostgreSQL that does not wait for ever.

A line that is dead without anybody having said so (a host that is gone, a firewall that
forgot) keeps a query waiting until TCP gives up, which takes a quarter of an hour. All
that while its process would hold a connection of the pool, and a drainer of the outbox
its turn.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.abc import RV, PQGen

ANSWER_TIMEOUT_SECONDS = 10.0
"""How long one answer may take. Ours take milliseconds, a bulk call's a second."""
RUNS_BEFORE_PREPARING = 5
"""As psycopg has it. A prepared audience query takes a half to a fifth of the time."""


def connect(*args: Any, **kwargs: Any) -> ImpatientConnection:  # noqa: ANN401
    """A new connection. Statements are prepared on it where that is safe.

    Behind a pooler (PgBouncer and its like) each transaction may be another server's,
    which does not know what the one before has prepared. A pooler gives its clients
    process numbers of its own, so it can be told from a server.
    """
    connection = ImpatientConnection.connect(*args, **kwargs)
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


class ImpatientConnection(psycopg.Connection[Any]):
    """A connection that closes itself where an answer takes too long.

    Raises:
        psycopg.OperationalError: in place of the answer; SQLAlchemy then drops this
            connection, and with it those of the pool that are as old.
    """

    def wait(
        self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None
    ) -> RV:
        """Wait for an answer; psycopg calls this for each."""
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, ANSWER_TIMEOUT_SECONDS)
        except psycopg.errors._WaitTimeout as error:  # noqa: SLF001 - it has no other name
            self.pgconn.finish()
            message = f"no answer for {ANSWER_TIMEOUT_SECONDS:g} s, connection closed"
            raise psycopg.OperationalError(message) from error
