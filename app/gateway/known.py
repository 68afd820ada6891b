"""News, and what of it a client is not to hear since a snapshot has told it."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class News:
    """A status and its frame. `introduces`: of somebody who has become relevant, else
    a change."""

    user_id: str
    timestamp: int
    frame: bytes
    introduces: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """`users` are those in the client's own snapshot. `times` holds their timestamps
    (ms), and those of whoever is in others that were read together: it is one map for
    all of them, so it alone does not say who was told of whom. `introduced` are those
    of whom the client was told afterwards, as somebody new."""

    users: AbstractSet[str]
    times: Mapping[str, int]
    introduced: set[str] = field(default_factory=set)

    def lets_pass(self, news: News) -> bool:
        """Whether the client is to hear `news` after this snapshot.

        Not what it has been told, nor a change of somebody who is not in it: the
        fan-out had asked before that one ceased to be relevant. Who becomes so is
        introduced, whatever happened to him meanwhile.
        """
        if news.user_id in self.users:
            return news.timestamp > self.times[news.user_id]
        if news.introduces:
            self.introduced.add(news.user_id)
        return news.user_id in self.introduced
