"""What webhook receivers must still hear: one set of changed users per receiver.

`Outbox` adds the users of acknowledged entries. A sender takes the users who changed
longest ago, reads their newest state and sends it. Only when the receiver has accepted
it do they leave the set, and only if they have not changed again. So a change is sent
at least once, and a user takes one entry, however long the receiver is away.

Each shard has a set of its own. What a sender knows of the receiver (failures, whether
it is disabled) is written to all shards; the worst that is found counts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.presence.keys import Keys, receiver_id
from models.presence.redis.backend import Backend, Gathered
from models.presence.redis.commands import Command, run_script
from models.presence.replies import full_status
from models.webhooks import Batch, Truth

LEASE_MS = 20_000
"""Milliseconds that a sender may take for one request, before another takes over."""
_SHOWN = ("disabled", "failures", "last_error", "successes", "failed")
_FAILURE = ("failures", "failing_since", "next_at", "last_error")


@dataclass(frozen=True, slots=True)
class Taken:
    """What one shard has for a receiver. Times are ms; 0 for never."""

    now: int
    epoch: int
    disabled: int
    failures: int
    failing_since: int
    next_at: int
    last_error: str
    walk: str
    """See `has_to_walk`."""
    batch: Batch | None
    """The last one that was sent, if it was not accepted."""
    unheard: dict[str, int]
    """User id -> number of the oldest change that the receiver has not heard, oldest
    first. Empty if nothing may be sent now."""

    @property
    def has_to_walk(self) -> bool:
        """Whether the receiver must hear of all users of the shard: its URL is new, or
        Redis has lost data. `walk` is the epoch, and the user whom it has reached."""
        return self.walk != str(self.epoch)

    @property
    def walked_to(self) -> str:
        """The last user of the walk so far; '' at its beginning."""
        epoch, _, user_id = self.walk.partition(" ")
        return user_id if epoch == str(self.epoch) else ""


@dataclass(frozen=True, slots=True)
class ReceiverState:
    """A receiver as the host and the metrics see it."""

    url: str
    state: str
    """`active`, `failing` or `disabled`."""
    pending: int
    """Users whose newest state it has not heard."""
    last_error: str | None
    successes: int
    failed: int
    """How many requests have succeeded and failed."""


class Webhooks:
    """The receivers of all shards. Methods raise `PresenceUnavailable` if a shard that
    they need does not answer, and may then be repeated."""

    def __init__(
        self, backend: Backend, keys: Sequence[Keys], urls: Sequence[str]
    ) -> None:
        self._backend = backend
        self._keys = keys
        self.urls = tuple(urls)

    def take(self, url: str, token: str, limit: int) -> dict[int, Taken]:
        """Take or renew the sender's lease for `url`, and return what is to be sent, by
        shard. Leaves out shards that do not answer, and those with another sender.

        Raises:
            PresenceUnavailable: no shard answered.
        """
        receiver = receiver_id(url)
        commands: dict[int, list[Command]] = {}
        for keys in self._keys:
            names = [keys.webhook_sender(receiver), *_names(keys, receiver), keys.epoch]
            args = (token, LEASE_MS, limit)
            commands[keys.shard] = [run_script("webhook_take", names, args)]
        answers = self._backend.gather(commands).some()
        return {shard: _taken(*reply) for shard, (reply,) in answers.items() if reply}

    def leave(self, url: str, token: str) -> None:
        """Give up the lease in all shards that answer."""
        receiver = receiver_id(url)
        self._backend.gather(
            {
                keys.shard: [
                    run_script("leave", [keys.webhook_sender(receiver)], [token])
                ]
                for keys in self._keys
            }
        )

    def truths(self, shard: int, user_ids: Sequence[str]) -> list[Truth]:
        """The real statuses of `user_ids`, with their newest numbers. At most a hundred
        users of `shard`."""
        keys = self._keys[shard]
        names = [keys.online_users, keys.epoch, *map(keys.user_status, user_ids)]
        ((now, epoch, *reply),) = self._backend.run(
            shard, [run_script("webhook_truth", names, user_ids)]
        )
        columns = [reply[column::6] for column in range(6)]
        return [
            Truth(full_status(user_id, *real), int(number), int(epoch), int(now))
            for user_id, number, *real in zip(user_ids, *columns, strict=True)
        ]

    def keep(self, url: str, shard: int, batch: Batch) -> None:
        """Store `batch` before it is sent, so that it keeps its id if it must be sent
        again."""
        state = self._keys[shard].webhook_state(receiver_id(url))
        fields = ("batch_id", batch.id, "batch", batch.encode())
        self._backend.run(shard, [("HSET", state, *fields)])

    def done(self, url: str, shard: int, batch: Batch) -> None:
        """The receiver has accepted `batch`: forget its users, unless they have changed
        since."""
        keys = self._keys[shard]
        users = [keys.user_status(one.user_id) for one in batch.sent]
        args: list[str | int] = [batch.id]
        for one in batch.sent:
            args += (one.user_id, one.number)
        names = [*_names(keys, receiver_id(url)), *users]
        self._backend.run(shard, [run_script("webhook_done", names, args)])

    def add_page(
        self,
        url: str,
        shard: int,
        taken: Taken,
        user_ids: Sequence[str],
        to: str | None,
    ) -> None:
        """Have the receiver hear of `user_ids`, the next page of a walk through all
        users. It ends with the user `to`; None: it was the last page. Does nothing if
        the walk was begun anew since `taken`."""
        walk = f"{taken.epoch}" if to is None else f"{taken.epoch} {to}"
        names = _names(self._keys[shard], receiver_id(url))
        args = [taken.walk, walk, *user_ids]
        self._backend.run(shard, [run_script("webhook_walk", names, args)])

    def failed(self, url: str, shard: int, failure: Mapping[str, str | int]) -> None:
        """A request with a batch of `shard` has failed. `failure` has the fields
        `failures`, `failing_since`, `next_at`, `last_error`, and `disabled` if the
        receiver wants no more. Skips other shards that do not answer."""
        fields = [part for pair in failure.items() for part in pair]
        commands = self._for_all(url, lambda state: [("HSET", state, *fields)])
        state = self._keys[shard].webhook_state(receiver_id(url))
        commands[shard].append(("HINCRBY", state, "failed", 1))
        self._backend.gather(commands)

    def clear_failures(self, url: str, shards: Collection[int]) -> None:
        """A request has succeeded. `done` has cleared the failures of its own shard;
        this clears those of other `shards`."""
        if shards:
            receiver = receiver_id(url)
            self._backend.gather(
                {
                    one: [("HDEL", self._keys[one].webhook_state(receiver), *_FAILURE)]
                    for one in shards
                }
            )

    def enable(self, url: str) -> None:
        """Send to `url` again, at once, and begin with the state of all users."""
        fields = ("disabled", "walk", *_FAILURE)
        commands = self._for_all(url, lambda state: [("HDEL", state, *fields)])
        self._backend.gather(commands).all()

    def states(self) -> list[ReceiverState]:
        """All receivers as they are now."""
        return [_state(url, self._counts(url).all()) for url in self.urls]

    def states_where_possible(self) -> list[ReceiverState]:
        """All receivers as they are now, without shards that do not answer.

        Raises:
            PresenceUnavailable: no shard answered.
        """
        return [_state(url, self._counts(url).some()) for url in self.urls]

    def _counts(self, url: str) -> Gathered:
        receiver = receiver_id(url)
        commands: dict[int, list[Command]] = {}
        for keys in self._keys:
            changed, state = _names(keys, receiver)
            commands[keys.shard] = [("ZCARD", changed), ("HMGET", state, *_SHOWN)]
        return self._backend.gather(commands)

    def _for_all(
        self, url: str, commands_for: Callable[[str], list[Command]]
    ) -> dict[int, list[Command]]:
        """What `commands_for` makes of the state of `url` in each shard."""
        receiver = receiver_id(url)
        return {
            keys.shard: commands_for(keys.webhook_state(receiver))
            for keys in self._keys
        }


def _names(keys: Keys, receiver: str) -> list[str]:
    return [keys.webhook_changed(receiver), keys.webhook_state(receiver)]


def _taken(now: str, epoch: str, *fields: Any) -> Taken:  # noqa: ANN401 - of a script
    disabled, failures, since, next_at, last_error, walk, batch_id, batch, users = (
        fields
    )
    return Taken(
        int(now),
        int(epoch),
        disabled=int(disabled or 0),
        failures=int(failures or 0),
        failing_since=int(since or 0),
        next_at=int(next_at or 0),
        last_error=last_error or "",
        walk=walk or "",
        batch=Batch.decode(batch_id, batch) if batch_id and batch else None,
        unheard=dict(zip(users[::2], map(int, users[1::2]), strict=True)),
    )


def _state(url: str, counts: Mapping[int, list[Any]]) -> ReceiverState:
    disabled, failures, errors, successes, failed = zip(
        *(fields for _, fields in counts.values()), strict=True
    )
    state = "failing" if any(failures) else "active"
    return ReceiverState(
        url,
        "disabled" if any(disabled) else state,
        sum(pending for pending, _ in counts.values()),
        next((text for text in errors if text), None),
        sum(int(count or 0) for count in successes),
        sum(int(count or 0) for count in failed),
    )
