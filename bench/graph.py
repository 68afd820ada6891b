"""Who is whose friend: graphs that a few numbers describe.

The generator, Greendot's database and the peers all make the same graph from the same
`Graph`, so nothing but its numbers has to travel between the processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph of `users` users.

    - `ring`: each is a friend of the `friends` nearest in a circle.
    - `star`: user 0 is everybody's friend. The others have no other friend.
    - `two stars`: user 0 is the friend of the next `friends`. The user after them is
      the friend of all the rest.
    """

    kind: str
    users: int
    friends: int

    @classmethod
    def ring(cls, users: int, friends: int) -> Graph:
        """`friends` is even, and less than `users`."""
        return cls("ring", users, friends)

    @classmethod
    def star(cls, friends: int) -> Graph:
        """One user with `friends` friends."""
        return cls("star", friends + 1, friends)

    @classmethod
    def two_stars(cls, near: int, far: int) -> Graph:
        """One user with `near` friends, and one with `far` others."""
        return cls("two stars", near + far + 2, near)

    def friends_of(self, user: int) -> list[int]:
        """The friends of the user with that number."""
        if self.kind == "star":
            return [0] if user else list(range(1, self.users))
        if self.kind == "two stars":
            centre = self.friends + 1
            if user == 0:
                return list(range(1, centre))
            if user == centre:
                return list(range(centre + 1, self.users))
            return [0 if user < centre else centre]
        steps = range(1, self.friends // 2 + 1)
        return [(user + sign * step) % self.users for step in steps for sign in (1, -1)]

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Every friendship once."""
        for user in range(self.users):
            for friend in self.friends_of(user):
                if user < friend:
                    yield user, friend


def user_id(number: int) -> str:
    """The id of the user with that number."""
    return f"u{number}"


def user_number(identifier: str) -> int:
    """Inverse of `user_id`."""
    return int(identifier[1:])
