"""Every key name of the presence state. No other module builds key names.

With a prefix such as `{p7}:` all keys of a shard are in one Redis Cluster slot. With
the default, the empty prefix, the names are the public ones of docs/ARCHITECTURE.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from zlib import crc32


def shard_prefixes(shards: int) -> tuple[str, ...]:
    """The key prefix of each shard. A single shard has none, so its names are the
    public ones."""
    if shards == 1:
        return ("",)
    return tuple(f"{{p{number}}}:" for number in range(shards))


def shard_number(name: str, shards: int) -> int:
    """The shard of a user, a gateway or a ticket: the same in every process."""
    return crc32(name.encode()) % shards if shards > 1 else 0


def split(names: Iterable[str], shards: int) -> dict[int, list[str]]:
    """`names` by shard. Shards without names are left out."""
    if shards == 1:
        together = list(names)
        return {0: together} if together else {}
    found: dict[int, list[str]] = {}
    for name in names:
        found.setdefault(shard_number(name, shards), []).append(name)
    return found


def receiver_id(url: str) -> str:
    """What stands for the webhook receiver `url` in the names of its keys."""
    return sha256(url.encode()).hexdigest()[:16]


class Keys:
    """The key names of one shard."""

    def __init__(self, prefix: str = "", shard: int = 0) -> None:
        self.prefix = prefix
        self.shard = shard
        self.online_users = f"{prefix}online_users"
        """Set: ids of all users who are online now."""
        self.deadlines = f"{prefix}online_users:deadlines"
        """Sorted set: user id -> latest deadline of its connections (ms)."""
        self.transitions = f"{prefix}presence:transitions"
        """Stream, the outbox: every transition that is not broadcast yet."""
        self.drainer = f"{prefix}presence:transitions:drainer"
        """String: the token of the drainer, or `requested` while a drain is awaited."""
        self.taken = f"{prefix}presence:transitions:taken"
        """String: how many entries drainers have taken from the present outbox."""
        self.missed = f"{prefix}presence:missed"
        """Set: numbers of shards whose users and gateways missed transitions of this
        shard. The shard's own number means that all users missed some."""
        self.crowds = f"{prefix}presence:crowds"
        """Stream: changes of users with very large audiences, taken from the outbox."""
        self.crowds_lease = f"{prefix}presence:crowds:lease"
        """String: the token of the task that tells these changes."""
        self.unstored = f"{prefix}presence:unstored"
        """Stream: transitions that were broadcast, but are not stored in SQL yet."""
        self.unstored_state = f"{prefix}presence:unstored:state"
        """Hash: `stored`, how many of them were stored; `taken`, see acknowledge.lua;
        `walk`, how far a walk through all users has got, see `tasks.history`."""
        self.unstored_writer = f"{prefix}presence:unstored:writer"
        """String: the token of the process that stores them."""
        self.gateways = f"{prefix}gateways"
        """Sorted set: gateway id -> deadline (ms)."""
        self.sweeps = f"{prefix}presence:sweeps"
        """Hash: when the last sweep ran, since when there was no gap, since when sweeps
        hold, how many holds there were, and how far `adopt` has got."""
        self.epoch = f"{prefix}presence:epoch"
        """String: when a loss of state in Redis was last noticed (ms)."""
        self.worker_counts = f"{prefix}presence:work"
        """Hash: what workers have counted, see `models.worker_metrics`."""
        self.samples = f"{prefix}presence:samples"
        """Stream: the state once a minute, for an hour. Only in the first shard."""
        self.recent = f"{prefix}presence:recent"
        """Stream: the transitions that were broadcast last, for the operators' page."""
        self.probe = f"{prefix}presence:probe"
        """String: set to find out whether the server accepts writes."""
        self.of_outbox_scripts = [
            self.online_users,
            self.deadlines,
            self.transitions,
            self.drainer,
        ]
        """KEYS 1 to 4 of every script that may add an entry to the outbox."""

    def trial(self, kind: str) -> str:
        """A key with which `flask doctor` tries whether commands are allowed."""
        return f"{self.prefix}presence:trial:{kind}"

    def answer(self, question: str) -> str:
        """String: a worker has got the question of a `flask doctor`."""
        return f"{self.prefix}presence:answer:{question}"

    def user_status(self, user_id: str) -> str:
        """Hash: `status`, `last_seen`, `updated_at` (ms). Also `sequence`, the newest
        number of the user's sequence, and `idle_since`, `active_since` and
        `idle_connections`, see idle.lua."""
        return f"{self.prefix}user:{user_id}:status"

    def user_connections(self, user_id: str) -> str:
        """Sorted set: connection id -> deadline (ms)."""
        return f"{self.prefix}user:{user_id}:connections"

    def gateway_users(self, gateway_id: str) -> str:
        """Set: users with a connection to that gateway process."""
        return f"{self.prefix}gateway:{gateway_id}:users"

    def gateway_connections(self, gateway_id: str) -> str:
        """String: how many open connections that gateway process has in this shard."""
        return f"{self.prefix}gateway:{gateway_id}:connections"

    def gateway_settings(self, gateway_id: str) -> str:
        """String: settings of that gateway process as JSON, see
        `models.presence.gateway_settings`. In the shard of the gateway's own id."""
        return f"{self.prefix}gateway:{gateway_id}:settings"

    def gateway_events(self, gateway_id: str) -> str:
        """Stream: messages for that gateway process."""
        return f"{self.prefix}gateway:{gateway_id}:events"

    def ticket(self, ticket: str) -> str:
        """String: the user that a WebSocket ticket stands for; expires by itself."""
        return f"{self.prefix}ws_ticket:{ticket}"

    def webhook_changed(self, receiver: str) -> str:
        """Sorted set: users whose newest state a webhook receiver must still hear, with
        the number (ms) of the oldest change that it has not heard."""
        return f"{self.prefix}presence:webhook:{receiver}:changed"

    def webhook_state(self, receiver: str) -> str:
        """Hash: the batch that was sent last and not accepted (`batch_id`, `batch`);
        `failures`, `failing_since`, `next_at`, `last_error`, `disabled`; `successes`
        and `failed`, which count requests; `taken`, see acknowledge.lua; `walk`, see
        webhook_walk.lua."""
        return f"{self.prefix}presence:webhook:{receiver}:state"

    def webhook_sender(self, receiver: str) -> str:
        """String: the token of the process that sends to a webhook receiver."""
        return f"{self.prefix}presence:webhook:{receiver}:sender"

    def limit(self, name: str) -> str:
        """String: when a limit is unused again (ms); expires then. The name says the
        kind of the limit and the caller."""
        return f"{self.prefix}presence:limit:{name}"
