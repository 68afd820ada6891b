"""The store and its model side by side. Each call is made on both, and compared. After
it the whole state in Redis is compared, and checked against what must always hold."""

from __future__ import annotations

import redis
from hypothesis.stateful import RuleBasedStateMachine, invariant

from models.events import Transition
from models.presence.gateways import HeartbeatReply
from models.presence.store import ClosedConnection, LiveConnection
from tests.presence.model import GATEWAY_TTL, MAX_CONNECTIONS, OFFLINE_TTL, TTL, Model
from tests.presence.picture import USERS, Picture
from tests.presence.shard import Shard
from tests.presence.simulated import SimulatedTime

NAMES = ("w1", "w2")


class SideBySide(RuleBasedStateMachine):
    """Two gateway hosts, three users with two devices each."""

    client: redis.Redis

    def __init__(self) -> None:
        super().__init__()
        self.time = SimulatedTime(self.client)
        self.shard = Shard.open(
            self.client,
            online_ttl=TTL / 1000,
            offline_ttl=OFFLINE_TTL / 1000,
            gateway_ttl=GATEWAY_TTL / 1000,
            max_connections_per_user=MAX_CONNECTIONS,
        )
        self.store = self.shard.store
        self.gateways = self.shard.gateways
        self.outbox = self.shard.outbox
        self.model = Model(self.time.now)
        self.incarnations = dict.fromkeys(NAMES, 1)
        self.sockets: dict[str, dict[str, str]] = {name: {} for name in NAMES}
        """The truth: of each running gateway, connection id -> user."""
        self.last_deadlines = dict.fromkeys(NAMES, 0)
        self.told: dict[str, list[Transition]] = {user: [] for user in USERS}
        """What the outbox said of each user since the last outside interference."""
        self.lost: set[str] = set()
        """Users whom somebody else took out of the online set."""
        self.drained = "0"

    def teardown(self) -> None:
        self.shard.remove()
        self.time.forget()

    def gateway(self, name: str, past: int = 0) -> str:
        return f"{name}:{max(1, self.incarnations[name] - past)}"

    def connection(self, gateway: str, user: str, device: int) -> str:
        return f"{gateway}:{user}{device}"

    def set_time(self, now: int) -> None:
        self.time.set(now)
        self.model.set_now(now)

    def flush(self, name: str, age: int = 0) -> None:
        """As app/gateway/heartbeats.py does it."""
        gateway = self.gateway(name)
        signs = [LiveConnection(u, c, age) for c, u in self.sockets[name].items()]
        reply = self.heartbeat(gateway, signs, self.last_deadlines[name])
        self.last_deadlines[name] = reply.deadline
        anew = signs if reply.lapsed else reply.gone
        if anew:
            self.connect(gateway, anew)

    # One call, on both sides

    def signs(
        self, gateway: str, calls: list[tuple[str, int, int]]
    ) -> list[LiveConnection]:
        return [
            LiveConnection(user, self.connection(gateway, user, device), age)
            for user, device, age in calls
        ]

    def connect(self, gateway: str, signs: list[LiveConnection]) -> None:
        refused = self.model.connect(gateway, signs)
        reply = self.store.connect(gateway, signs)
        assert reply.refused == refused
        assert reply.transitions == self.model.made
        for connections in self.sockets.values():
            for connection in refused & set(connections):
                del connections[connection]  # closed with 4429
        self.finish(reply.needs_drain)

    def heartbeat(
        self, gateway: str, signs: list[LiveConnection], last_deadline: int = 0
    ) -> HeartbeatReply:
        expected = self.model.heartbeat(gateway, signs, last_deadline)
        reply = self.gateways.heartbeat(gateway, signs, last_deadline)
        assert (reply.lapsed, reply.gone) == expected
        assert reply.deadline == self.model.gateways[gateway]
        return reply

    def release(self, gateway: str, departures: list[ClosedConnection]) -> None:
        expected = self.model.release(gateway, departures)
        assert self.store.release(gateway, departures) == expected

    def finish(self, needs_drain: bool) -> None:  # noqa: FBT001 - a reply's field
        """Exactly one outbox entry per transition."""
        assert needs_drain == self.model.needs_drain()
        entries = self.shard.outbox_after(f"({self.drained}")
        made = [transition for _, transition in entries]
        assert sorted(made, key=str) == sorted(self.model.made, key=str)
        if entries:
            self.drained = entries[-1][0]
        for transition in made:
            user = transition.user_id
            if user in self.lost and transition.status == "online":
                self.told[user] = []  # told again: nobody made the user offline
            self.told[user].append(transition)
            self.lost.discard(user)
        self.model.made = []

    # What must hold at any time, of Redis's own data

    @invariant()
    def state_in_redis_is_right(self) -> None:
        now = Picture.take(self.shard, [self.gateway(name) for name in NAMES])
        self.picture = now
        assert now.online == self.model.online
        for gateway, held in now.held.items():
            assert held == self.model.held.get(gateway, set())
        for user in USERS:
            assert now.leases[user] == self.model.leases.get(user, {})
            self.check_deadlines(now, user)
            self.check_holders(now, user)
            if user not in self.lost:
                self.check_status(now, user)
            elif not now.statuses[user]:
                # Nobody made the user offline, so no status remembers the newest
                # timestamp for as long as one of an offline user would.
                self.model.newest.pop(user, None)
            self.check_transitions(user)
        self.check_where_they_are(now)

    def check_deadlines(self, now: Picture, user: str) -> None:
        """A user with a live lease is online, and every online user has a deadline."""
        leases, deadline = now.leases[user], now.deadlines.get(user)
        if any(end > self.time.now for end in leases.values()):
            assert user in now.online or user in self.lost
        if leases:
            assert deadline == self.model.deadline(user) >= max(leases.values())
            assert self.shard.keys.user_connections(user) in now.expires_at
        elif user in now.online:
            assert deadline is not None
            assert (
                deadline <= self.time.latest
            )  # it was the time when the last one left
        elif user not in self.lost:
            assert deadline is None

    def check_holders(self, now: Picture, user: str) -> None:
        """A gateway holds the users that a sweep has to release should it die."""
        for name in NAMES:
            for connection, owner in self.sockets[name].items():
                if (
                    owner == user
                    and now.leases[user].get(connection, 0) > self.time.now
                ):
                    assert user in now.held[self.gateway(name)]

    def check_where_they_are(self, now: Picture) -> None:
        """The fan-out finds every connection that is not released."""
        expected: dict[str, set[str]] = {}
        for user in USERS:
            for lease in now.leases[user]:
                if not lease.endswith(":released"):
                    expected.setdefault(lease.rpartition(":")[0], set()).add(user)
        assert self.shard.presence.gateway_streams.holders(USERS) == expected

    def check_status(self, now: Picture, user: str) -> None:
        """The hash agrees with the set, lives as long as a lease, and no longer than
        its contract says."""
        status, is_online = now.statuses[user], user in now.online
        # Live at every time that the clock has shown: what expired stays expired. A
        # grace that was given after the status had expired does not bring it back.
        for lease, end in now.leases[user].items():
            if end > self.time.latest and not lease.endswith(":released"):
                assert status, "the status of a live user has expired"
        if status:
            assert status["status"] == ("online" if is_online else "offline")
            updated_at = int(status["updated_at"])
            assert updated_at >= self.model.newest.get(user, 0)
            self.model.newest[user] = updated_at  # later where it was rebuilt
            most = self.time.latest + (TTL if is_online else OFFLINE_TTL)
            key = self.shard.keys.user_status(user)
            assert now.expires_at[key] <= max(most, updated_at + 10)

    def check_transitions(self, user: str) -> None:
        """They alternate, and their timestamps strictly increase."""
        told = self.told[user]
        turns = ["online", "offline"] * (len(told) // 2 + 1)
        assert [transition.status for transition in told] == turns[: len(told)]
        times = [transition.timestamp for transition in told]
        assert times == sorted(set(times))
