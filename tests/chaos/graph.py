"""A random host graph: friends, conversations and a few blocked pairs."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import combinations

from tests.system import System

FRIENDS = 10
"""Accepted friends of one user, on average."""
BLOCKED = 5


@dataclass(frozen=True)
class Graph:
    """The users, and their relations."""

    users: tuple[str, ...]
    friendships: tuple[tuple[str, str], ...]
    conversations: tuple[tuple[str, ...], ...]
    blocked: frozenset[tuple[str, str]]

    def relevant(self) -> dict[str, frozenset[str]]:
        """Of each user the friends and conversation partners, but nobody blocked."""
        talks = (pair for talk in self.conversations for pair in combinations(talk, 2))
        found: dict[str, set[str]] = {user: set() for user in self.users}
        for one, other in {*self.friendships, *talks} - self.blocked:
            found[one].add(other)
            found[other].add(one)
        return {user: frozenset(others) for user, others in found.items()}

    def load(self, system: System) -> None:
        """Feed it in as the host application does."""
        talks = {f"{talk[0]}-{n}": talk for n, talk in enumerate(self.conversations)}
        system.admin(
            "POST",
            "/bulk",
            {
                "users": [{"id": user, "display_name": user} for user in self.users],
                "friendships": [list(pair) for pair in self.friendships],
                "conversations": [
                    {"id": talk_id, "title": talk_id, "participants": list(talk)}
                    for talk_id, talk in talks.items()
                ],
            },
        )
        for one, other in sorted(self.blocked):
            path = f"/friendships/{one}/{other}"
            system.admin("PUT", path, {"status": "blocked"})


def random_graph(seed: int, size: int, prefix: str = "u") -> Graph:
    """A graph of `size` users. Pairs are in order, as sets of them are compared."""
    chance = random.Random(seed)  # noqa: S311 - to be repeated, not secret
    users = tuple(f"{prefix}{number:03}" for number in range(size))
    pairs = list(combinations(users, 2))
    chosen = chance.sample(pairs, min(len(pairs), size * FRIENDS // 2 + BLOCKED))
    talks = tuple(
        tuple(sorted(chance.sample(users, min(size, chance.randint(3, 10)))))
        for _ in range(size // 10)
    )
    return Graph(users, tuple(chosen[BLOCKED:]), talks, frozenset(chosen[:BLOCKED]))
