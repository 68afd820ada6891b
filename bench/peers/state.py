"""Where the Flask-SocketIO peer keeps who is whose friend and who is online."""

from __future__ import annotations

import os
import time
from collections import Counter

import redis
from sqlalchemy import create_engine, text

from bench.graph import Graph, user_id

Status = dict[str, object]


class Memory:
    """In the process: the quickest way there is, and enough for one process."""

    def __init__(self, graph: Graph) -> None:
        self._friends = {
            user_id(number): [user_id(friend) for friend in graph.friends_of(number)]
            for number in range(graph.users)
        }
        self._connections: Counter[str] = Counter()
        self._updated_at: dict[str, int] = {}

    def friends_of(self, user: str) -> list[str]:
        """The friends of a user."""
        return self._friends[user]

    def come(self, user: str) -> int | None:
        """One more connection; the time where it is the first."""
        self._connections[user] += 1
        return self._now(user) if self._connections[user] == 1 else None

    def go(self, user: str) -> int | None:
        """One connection less; the time where it was the last."""
        self._connections[user] -= 1
        if self._connections[user]:
            return None
        del self._connections[user]
        return self._now(user)

    def online(self, users: list[str]) -> list[bool]:
        """For each of `users`: whether the user is online."""
        return [user in self._connections for user in users]

    def statuses(self, users: list[str]) -> dict[str, Status]:
        """The same with the time of the last change."""
        return {
            user: {
                "status": "online" if user in self._connections else "offline",
                "timestamp": self._updated_at.get(user, 0),
            }
            for user in users
        }

    def _now(self, user: str) -> int:
        self._updated_at[user] = time.time_ns() // 1_000_000
        return self._updated_at[user]


class Shared:
    """In SQLite and Redis, so that there may be more than one process, and a restart.

    Not proof against a crash: the counters then stay wrong.
    """

    def __init__(self, graph: Graph, redis_url: str, file: str) -> None:
        pool = redis.BlockingConnectionPool.from_url(
            redis_url, max_connections=16, decode_responses=True
        )
        self._redis = redis.Redis(connection_pool=pool)
        self._engine = create_engine(f"sqlite:///{file}")
        if not os.path.exists(file):  # noqa: PTH110 - SQLAlchemy has a string
            self._fill(graph)

    def _fill(self, graph: Graph) -> None:
        pairs = [
            {"user": user_id(a), "friend": user_id(b)}
            for one, other in graph.pairs()
            for a, b in ((one, other), (other, one))
        ]
        with self._engine.begin() as connection:
            connection.execute(text("PRAGMA journal_mode = WAL"))
            connection.execute(
                text(
                    "CREATE TABLE friends (user TEXT, friend TEXT,"
                    " PRIMARY KEY (user, friend)) WITHOUT ROWID"
                )
            )
            insert = text("INSERT INTO friends VALUES (:user, :friend)")
            connection.execute(insert, pairs)

    def friends_of(self, user: str) -> list[str]:
        """The friends of a user."""
        query = text("SELECT friend FROM friends WHERE user = :user")
        with self._engine.connect() as connection:
            return list(connection.scalars(query, {"user": user}))

    def come(self, user: str) -> int | None:
        """One more connection; the time where it is the first."""
        if self._redis.hincrby("connections", user, 1) != 1:
            return None
        return self._change(user, online=True)

    def go(self, user: str) -> int | None:
        """One connection less; the time where it was the last."""
        left = self._redis.hincrby("connections", user, -1)
        return None if left else self._change(user, online=False)

    def _change(self, user: str, *, online: bool) -> int:
        now = time.time_ns() // 1_000_000
        with self._redis.pipeline(transaction=False) as pipe:
            (pipe.sadd if online else pipe.srem)("online", user)
            pipe.hset("updated_at", user, str(now))
            pipe.execute()
        return now

    def online(self, users: list[str]) -> list[bool]:
        """For each of `users`: whether the user is online."""
        if not users:
            return []
        return [bool(here) for here in self._redis.smismember("online", users)]

    def statuses(self, users: list[str]) -> dict[str, Status]:
        """The same with the time of the last change."""
        if not users:
            return {}
        times = self._redis.hmget("updated_at", users)
        return {
            user: {"status": "online" if here else "offline", "timestamp": int(at or 0)}
            for user, here, at in zip(users, self.online(users), times, strict=True)
        }
