"""The parts, without processes: tests do each step."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import Engine

from models.recorded import RecordedTransition
from models.sql.db import session_factory
from models.sql.last_seen import newest_stored
from models.sql.sessions import UserSession, sessions_page
from models.sql.user import put_users
from tasks.history import HistoryWriter
from tests.presence.shard import Shard
from tests.system import wait_until


@dataclass
class World:
    """Users are changed in `shard`, and what is stored is in `engine`."""

    shard: Shard
    engine: Engine
    keeps_sessions: bool = True

    def put_users(self, *users: str) -> None:
        """Store users."""
        with session_factory(self.engine)() as session:
            put_users(session, {user: user for user in users})
            session.commit()

    def online(self, *users: str, number: int = 1) -> None:
        """Users come online."""
        for user in users:
            self.shard.connect(user, number)

    def offline(self, *users: str, number: int = 1, age_ms: int = 0) -> None:
        """Users go offline. They were last seen `age_ms` ago."""
        for user in users:
            self.shard.release(user, number, age_ms=age_ms)
        self.shard.expire(*users)

    def drain(self) -> None:
        """As a drainer that has published all."""
        outbox = self.shard.outbox
        while not outbox.release_lease("a drainer", outbox.take("a drainer") or []):
            pass

    def writer(self) -> HistoryWriter:
        """A writer as each task makes one. The lease of the last one is over."""
        self.shard.client.delete(self.shard.keys.unstored_writer)
        return HistoryWriter(
            self.shard.presence, self.engine, 0, keeps_sessions=self.keeps_sessions
        )

    def write(self) -> None:
        """Write all that may be written now."""
        while self.writer().run(time.monotonic()):
            pass

    def settle(self) -> None:
        """Sweeps have run for a minute, so all gateways have registered. However slow
        the test is, the last sweep is new. Only a loss of state takes time."""
        now, sweeps = self.shard.now(), self.shard.keys.sweeps
        self.shard.client.hset(sweeps, "no_gap_since", str(now - 60_000))
        self.shard.client.hset(sweeps, "last", str(now + 60_000))
        wait_until(self.shard.presence.is_settled)

    def lose(self) -> None:
        """Redis comes back empty, and a gateway notices."""
        self.shard.remove()
        self.shard.client.set(self.shard.keys.epoch, str(self.shard.now()))

    @property
    def epoch(self) -> int:
        """When it was noticed."""
        return int(self.shard.client.get(self.shard.keys.epoch) or 0)

    def waiting(self) -> int:
        """How many transitions are not stored."""
        return self.shard.client.xlen(self.shard.keys.unstored)

    def updated_at(self, user: str) -> int:
        """The user's newest transition in Redis."""
        return int(self.shard.hash(user)["updated_at"])

    def last_seen(self, user: str) -> int:
        """When Redis last saw the user."""
        return int(self.shard.hash(user)["last_seen"])

    # What is in SQL

    def stored(self, user: str) -> RecordedTransition | None:
        """The newest transition of the user."""
        with self.engine.connect() as reader:
            return newest_stored(reader, [user]).get(user)

    def sessions(self, user: str) -> list[UserSession]:
        """All sessions of the user."""
        with self.engine.connect() as reader:
            return sessions_page(reader, user, 0, 0, 1000).items
