"""The gateways' streams: which gateways hold which users, and messages to gateways.

A connection id starts with the id of its gateway, so the shards of the users say which
gateways hold them. The messages for a gateway are in one stream, in the shard of the
gateway's own id. So a gateway reads from one shard only.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from models.events import (
    VISIBILITY_VERSION,
    Delivery,
    GatewayMessage,
    UnreadableMessage,
)
from models.identifiers import ids_in
from models.presence.batches import by_shard
from models.presence.errors import PresenceUnavailable
from models.presence.keys import Keys, shard_number, split
from models.presence.redis.backend import Backend
from models.presence.redis.commands import (
    Command,
    read_stream,
    run_script,
    stream_entries,
)

log = logging.getLogger(__name__)

_NAMED_VERSION = re.compile(r"-v(\d+)$")
"""The end of a gateway id (`app.gateway.gateway.new_gateway_id`)."""
MAX_STREAM_LENGTH = 1_000
"""Messages kept for a gateway that does not read. Each holds up to 500 events. A
gateway deletes what it has read, and notices if unread messages were cut off."""
STREAM_TTL_MS = 300_000
"""A gateway's stream expires this long after the last message was added."""
FEW_GATEWAYS = 4
"""With so few gateways, every gateway gets each change with its whole audience. That
saves the round trip that asks which gateways hold the audience."""
MAX_IDS_TO_ALL = 100_000
"""User ids in one message to all gateways: 0.7 MB if an id has six characters, 4 MB if
all are UUIDs."""


@dataclass(frozen=True, slots=True)
class StreamRead:
    """What a gateway has read from its stream."""

    messages: list[tuple[str, GatewayMessage | UnreadableMessage]]
    """The next messages with their ids; for an unreadable one, the reason why."""
    gone: int | None
    """How many messages before these have left the stream since it began; None if the
    read did not trim."""


class GatewayStreams:
    """The streams of all gateways. Methods raise `PresenceUnavailable` like the
    store's.

    Methods named `..._where_possible` do not raise it if a shard does not answer. They
    also return these shards.
    """

    def __init__(self, backend: Backend, keys: Sequence[Keys]) -> None:
        self._backend = backend
        self._keys = keys
        # By shard, as of the last reply: a few gateway ids, and how many there are.
        self._known_ids: dict[int, list[str]] = {}
        self._known_count: dict[int, int] = {}
        self._logged_as_old: set[str] = set()

    def holders(self, user_ids: Iterable[str]) -> dict[str, set[str]]:
        """Gateway id -> which of `user_ids` the gateway holds. Gateways that hold none
        of them are left out. One round trip for any number of users and gateways."""
        held, failed_shards = self.holders_where_possible(user_ids)
        for error in failed_shards.values():
            raise error
        return held

    def holders_where_possible(
        self, user_ids: Iterable[str]
    ) -> tuple[dict[str, set[str]], dict[int, PresenceUnavailable]]:
        """Like `holders`, but also returns the shards that did not answer.

        A gateway may hold a user whose connection Redis does not know: the user was
        made offline by mistake, or is not registered yet. Such a gateway is not in the
        result. It will register the user, and then send a snapshot.
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
        for shard, (count, *replies) in answers.replies.items():
            self._known_count[shard] = count
            for batch, reply in zip(asked[shard], replies, strict=True):
                for gateway_id, numbers in zip(reply[::2], reply[1::2], strict=True):
                    held.setdefault(gateway_id, set()).update(
                        batch[number] for number in numbers
                    )
        return held, answers.errors

    def gateway_ids(self) -> set[str]:
        """All gateways that any shard knows."""
        commands: dict[int, list[Command]] = {
            keys.shard: [("ZRANGE", keys.gateways, 0, -1)] for keys in self._keys
        }
        replies = self._backend.gather(commands).all()
        return {gateway_id for (present,) in replies.values() for gateway_id in present}

    def knows_visibility(self) -> bool:
        """Whether every gateway has a version that can hide users. A gateway of an
        older version would show them."""
        return all(
            _version_of(gateway_id) >= VISIBILITY_VERSION
            for gateway_id in self.gateway_ids()
        )

    def is_cheaper_to_all(self, ids: int) -> bool:
        """Whether it is cheaper to send a message with so many `ids` to all gateways
        than to find the gateways that hold these users."""
        gateways = max(self._known_count.values(), default=0)
        return gateways <= FEW_GATEWAYS and ids <= MAX_IDS_TO_ALL

    def publish_to_all(
        self, transitions: Iterable[Delivery]
    ) -> dict[int, PresenceUnavailable]:
        """Append `transitions` to the stream of each gateway that may hold one of their
        recipients. Returns the shards that did not answer.

        The message goes to the gateways that were known after the last call. The same
        round trip reads which gateways there are now. If some are new, a second round
        trip sends them the message. So every gateway that was registered before this
        call gets it.
        """
        message = GatewayMessage(transitions=tuple(transitions))
        shards = self._recipient_shards(message.transitions)
        if not shards:
            return {}
        known = set().union(*(self._known_ids.get(shard, ()) for shard in shards))
        commands: dict[int, list[Command]] = {
            shard: [("ZRANGE", self._keys[shard].gateways, 0, -1)] for shard in shards
        }
        self._add_appends(commands, dict.fromkeys(known, message))
        answers = self._backend.gather(commands)
        present: set[str] = set()
        for shard in set(shards) - answers.errors.keys():
            ids = answers.replies[shard][0]
            present.update(ids)
            self._known_count[shard] = len(ids)
            # Keep only few ids. The ids of many gateways are not used, and would be out
            # of date when there are few gateways again.
            self._known_ids[shard] = ids if len(ids) <= FEW_GATEWAYS else []
        new = dict.fromkeys(present - known, message)
        return {**answers.errors, **self.publish_where_possible(new)}

    def _recipient_shards(self, deliveries: Sequence[Delivery]) -> Collection[int]:
        """The shards of the recipients of `deliveries`."""
        if len(self._keys) == 1:
            return range(bool(deliveries))
        ids = chain.from_iterable(ids_in(one.recipients) for one in deliveries)
        return split(ids, len(self._keys)).keys()

    def publish(self, messages: Mapping[str, GatewayMessage]) -> None:
        """Append each gateway's message to its stream, in one round trip."""
        for error in self.publish_where_possible(messages).values():
            raise error

    def publish_where_possible(
        self, messages: Mapping[str, GatewayMessage]
    ) -> dict[int, PresenceUnavailable]:
        """Like `publish`, but returns the shards that did not answer. Gateways whose
        streams are in these shards did not get their message."""
        if not messages:
            return {}
        commands: dict[int, list[Command]] = {}
        self._add_appends(commands, messages)
        return self._backend.gather(commands).errors

    def _add_appends(
        self, commands: dict[int, list[Command]], messages: Mapping[str, GatewayMessage]
    ) -> None:
        """Add to `commands`, by shard, the commands that append `messages` to the
        streams of their gateways. A gateway of an older version gets only what it can
        read."""
        entries: dict[tuple[int, int], tuple[str, bytes] | None] = {}
        for gateway_id, message in messages.items():
            version = _version_of(gateway_id)
            if version < 0:
                self._log_old(gateway_id)
            # Many gateways may get the same message: encode it once.
            key = id(message), version
            if key not in entries:
                readable = message.for_reader(version)
                entries[key] = None if readable is None else readable.as_entry()
            if (entry := entries[key]) is None:
                continue
            shard, stream = self._stream(gateway_id)
            args = (MAX_STREAM_LENGTH, STREAM_TTL_MS, *entry)
            append = run_script("append", [stream], args)
            commands.setdefault(shard, []).append(append)

    def _log_old(self, gateway_id: str) -> None:
        if gateway_id not in self._logged_as_old:
            self._logged_as_old.add(gateway_id)
            log.warning(
                "the id of gateway %s has no message version, so the gateway is older "
                "than this process: if its clients see no changes, restart it",
                gateway_id,
            )

    def read(
        self,
        gateway_id: str,
        after: str,
        wait_ms: int,
        limit: int = 100,
        *,
        trims: bool = True,
    ) -> StreamRead:
        """The next `limit` messages of `gateway_id` after the id `after` ("0-0": from
        the beginning). If there are none, wait up to `wait_ms` for the first. A read
        that `trims` first deletes the messages up to `after`."""
        shard, stream = self._stream(gateway_id)
        commands = [read_stream(stream, after, limit, wait_ms)]
        if trims:
            milliseconds, _, number = after.partition("-")
            unread = f"{milliseconds}-{int(number) + 1}"
            commands.insert(0, run_script("trim", [stream], [unread]))
        *trimmed, reply = self._backend.run(shard, commands, raw=True)
        return StreamRead(
            [
                (entry_id, _message(fields))
                for entry_id, fields in stream_entries(reply)
            ],
            trimmed[0] if trimmed else None,
        )

    def _stream(self, gateway_id: str) -> tuple[int, str]:
        """The shard and the key of a gateway's stream."""
        shard = shard_number(gateway_id, len(self._keys))
        return shard, self._keys[shard].gateway_events(gateway_id)


def _version_of(gateway_id: str) -> int:
    """Up to which version a gateway reads messages. -1 if its id does not tell."""
    named = _NAMED_VERSION.search(gateway_id)
    return int(named[1]) if named else -1


def _message(fields: Sequence[bytes]) -> GatewayMessage | UnreadableMessage:
    try:
        return GatewayMessage.from_entry(fields)
    except UnreadableMessage as error:
        return error
