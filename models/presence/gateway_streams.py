"""The way to the gateways: which of them hold whom, and what they are told.

Who is held where is spread over the shards of the users: the id of a connection begins
with that of its gateway. What a gateway is told lies in one stream, in the shard of its
own name, so that it has one place to read.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from models.events import Delivery, GatewayMessage, UnreadableMessage
from models.identifiers import ids_in
from models.presence.batches import by_shard
from models.presence.errors import CommandRefused, PresenceUnavailable
from models.presence.keys import Keys, shard_number, split
from models.presence.redis.backend import Backend, Gathered
from models.presence.redis.commands import (
    Command,
    read_stream,
    run_script,
    stream_entries,
)

log = logging.getLogger(__name__)

_NAMES_VERSION = re.compile(r"-v\d+$")
"""At the end of a gateway's id (`app.gateway.gateway.new_gateway_id`)."""
STREAM_MOST = 1_000
"""Messages kept for a gateway that does not read; each holds up to 500 events. A
gateway deletes what it has read, and notices where unread ones were cut off."""
STREAM_TTL_MS = 300_000
"""A gateway's stream expires that long after the last message that was added."""
FEW_GATEWAYS = 4
"""Up to that many gateways are all told of a change, each with the whole audience: that
spares the round trip that asks where they are."""
MOST_UNASKED = 20_000
"""Ids named to gateways that were not asked for, in one message: some 300 KB."""


@dataclass(frozen=True, slots=True)
class Inbox:
    """What a gateway finds in its stream. `messages` are the next ones with their ids;
    in place of one that cannot be read is the reason why. `gone` is how many messages
    have left the stream since it began, before these."""

    messages: list[tuple[str, GatewayMessage | UnreadableMessage]]
    gone: int


class GatewayStreams:
    """The streams of all gateways. Raises `PresenceUnavailable` like the store."""

    def __init__(self, backend: Backend, keys: Sequence[Keys]) -> None:
        self._backend = backend
        self._keys = keys
        self._last_ids: dict[int, list[str]] = {}
        self._gateways: dict[int, int] = {}
        self._old: set[str] = set()

    def holders(self, user_ids: Iterable[str]) -> dict[str, set[str]]:
        """Which gateway holds which of `user_ids`; gateways that hold none are left
        out. One round trip, whatever the number of users and gateways."""
        held, away = self.holders_where_possible(user_ids)
        for error in away.values():
            raise error
        return held

    def holders_where_possible(
        self, user_ids: Iterable[str]
    ) -> tuple[dict[str, set[str]], dict[int, PresenceUnavailable]]:
        """As `holders`, and which shards do not answer: where their users are is not
        known.

        Somebody may be at a gateway, and Redis not know his connection: he was made
        offline by mistake, or is just being registered. A snapshot follows when he is.
        """
        asked = by_shard(user_ids, len(self._keys))
        if not asked:
            return {}, {}
        commands: dict[int, list[Command]] = {}
        for shard, lists in asked.items():
            keys = self._keys[shard]
            commands[shard] = [
                ("ZCARD", keys.gateways),
                *(
                    run_script("holders", [*map(keys.user_connections, batch)])
                    for batch in lists
                ),
            ]
        answers = self._backend.gather(commands)
        held: dict[str, set[str]] = {}
        for shard, (gateways, *replies) in answers.replies.items():
            self._gateways[shard] = gateways
            for batch, reply in zip(asked[shard], replies, strict=True):
                for gateway_id, numbers in zip(reply[::2], reply[1::2], strict=True):
                    held.setdefault(gateway_id, set()).update(
                        batch[number] for number in numbers
                    )
        return held, answers.errors

    def gateway_ids(self) -> set[str]:
        """All gateways that any shard knows."""
        commands: dict[int, list[Command]] = {
            shard: [("ZRANGE", keys.gateways, 0, -1)]
            for shard, keys in enumerate(self._keys)
        }
        replies = self._backend.gather(commands).all()
        return {gateway_id for (present,) in replies.values() for gateway_id in present}

    def is_cheaper_unasked(self, ids: int) -> bool:
        """Whether a message that names so many `ids` should rather go to all gateways
        at once than only to those that hold one of them."""
        gateways = max(self._gateways.values(), default=0)
        return gateways <= FEW_GATEWAYS and ids <= MOST_UNASKED

    def publish_to_all(
        self, transitions: Iterable[Delivery]
    ) -> dict[int, PresenceUnavailable]:
        """Append `transitions` to the stream of each gateway that may hold one of their
        recipients. The gateways are those of the last time, and who they are now is
        asked in the same breath: one round trip, and one more after a gateway has come.
        None that was there before this call is missed.

        Returns which shards did not answer.
        """
        message = GatewayMessage(transitions=tuple(transitions))
        shards = self._shards_of(message.transitions)
        if not shards:
            return {}
        told: set[str] = set().union(*(self._last_ids.get(s, ()) for s in shards))
        commands: dict[int, list[Command]] = {
            shard: [("ZRANGE", self._keys[shard].gateways, 0, -1)] for shard in shards
        }
        self._add_to_streams(commands, dict.fromkeys(told, message.as_entry()))
        answers = self._append(commands, told)
        present: set[str] = set()
        for shard in set(shards) - answers.errors.keys():
            ids = answers.replies[shard][0]
            present.update(ids)
            self._gateways[shard] = len(ids)
            # Of many they would be old when they are few again, and told for nothing.
            self._last_ids[shard] = ids if len(ids) <= FEW_GATEWAYS else []
        new = dict.fromkeys(present - told, message)
        return {**answers.errors, **self.publish_where_possible(new)}

    def _shards_of(self, deliveries: Sequence[Delivery]) -> Collection[int]:
        """The shards to which recipients of `deliveries` belong."""
        if len(self._keys) == 1:
            return range(bool(deliveries))
        named = chain.from_iterable(ids_in(one.recipients) for one in deliveries)
        return split(named, len(self._keys)).keys()

    def publish(self, messages: Mapping[str, GatewayMessage]) -> None:
        """Append one message to the stream of each gateway, in one round trip."""
        for error in self.publish_where_possible(messages).values():
            raise error

    def publish_where_possible(
        self, messages: Mapping[str, GatewayMessage]
    ) -> dict[int, PresenceUnavailable]:
        """As `publish`, but says which shards did not answer: gateways whose stream is
        there were not told."""
        if not messages:
            return {}
        commands: dict[int, list[Command]] = {}
        entries = {gateway: message.as_entry() for gateway, message in messages.items()}
        self._add_to_streams(commands, entries)
        return self._append(commands, messages).errors

    def _append(
        self, commands: Mapping[int, Sequence[Command]], gateway_ids: Collection[str]
    ) -> Gathered:
        """Send `commands`, which append to the streams of `gateway_ids`. If something
        else lies under such a name, it is deleted, and all is sent once more: one
        gateway must not keep the others from being told, and it notices what it has
        lost."""
        try:
            return self._backend.gather(commands)
        except CommandRefused as error:
            names = [self._stream(gateway_id) for gateway_id in gateway_ids]
            kinds: dict[int, list[Command]] = {}
            for shard, stream in names:
                kinds.setdefault(shard, []).append(("TYPE", stream))
            found = self._backend.gather(kinds).replies
            wrong: dict[int, list[Command]] = {}
            for shard, types in found.items():
                for (_, stream), kind in zip(kinds[shard], types, strict=True):
                    if kind not in {"stream", "none"}:
                        wrong.setdefault(shard, []).append(("DEL", stream))
            if not wrong:
                raise
            log.warning("deleted what is no stream of a gateway: %s: %s", wrong, error)
            self._backend.gather(wrong)
            return self._backend.gather(commands)

    def _add_to_streams(
        self,
        commands: dict[int, list[Command]],
        entries: Mapping[str, tuple[str, bytes]],
    ) -> None:
        """Add to `commands`, by shard, what appends `entries` to the streams of their
        gateways."""
        for gateway_id, entry in entries.items():
            if not _NAMES_VERSION.search(gateway_id):
                self._say_old(gateway_id)
            shard, stream = self._stream(gateway_id)
            args = (STREAM_MOST, STREAM_TTL_MS, *entry)
            append = run_script("append", [stream], args)
            commands.setdefault(shard, []).append(append)

    def _say_old(self, gateway_id: str) -> None:
        if gateway_id not in self._old:
            self._old.add(gateway_id)
            log.warning(
                "gateway %s names no version of its messages, so it is older than this "
                "process: if its clients hear of no changes, restart it",
                gateway_id,
            )

    def read(self, gateway_id: str, after: str, wait_ms: int, most: int = 100) -> Inbox:
        """Delete the messages of `gateway_id` up to the id `after` ("0-0": none), and
        give the next `most` of them; waits up to `wait_ms` for the first one."""
        shard, stream = self._stream(gateway_id)
        milliseconds, _, number = after.partition("-")
        unread = f"{milliseconds}-{int(number) + 1}"
        commands = [
            run_script("trim", [stream], [unread]),
            read_stream(stream, after, most, wait_ms),
        ]
        gone, found = self._backend.run(shard, commands, raw=True)
        entries = stream_entries(found)
        return Inbox(
            [(entry_id, _message(fields)) for entry_id, fields in entries], gone
        )

    def _stream(self, gateway_id: str) -> tuple[int, str]:
        """Where the messages for `gateway_id` lie: its home shard, and the key."""
        shard = shard_number(gateway_id, len(self._keys))
        return shard, self._keys[shard].gateway_events(gateway_id)


def _message(fields: Sequence[bytes]) -> GatewayMessage | UnreadableMessage:
    try:
        return GatewayMessage.from_entry(fields)
    except UnreadableMessage as error:
        return error
