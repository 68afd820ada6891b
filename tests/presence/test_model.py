"""The real scripts on a real server against a plain model, under random interleavings.

Time is simulated (see `simulated`), so that TTLs, graces and clocks that step back cost
nothing. Calls come as gateways make them, and beside that late, twice, out of order and
from gateways that are long dead. After each call every reply and the whole state in
Redis must be what the model says; the invariants are checked on Redis's own data, not
on the model's. When all faults end the real sockets decide: within TTL + sweep + grace
the dots must be right.

`GREENDOT_MODEL_EXAMPLES=5000 pytest tests/presence/test_model.py` runs it for long.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from models.events import Transition
from models.presence.gateways import HeartbeatReply
from models.presence.store import Departure, Due, SignOfLife
from tests.presence.model import GATEWAY_TTL, MOST, OFFLINE_TTL, TTL, Model
from tests.presence.picture import USERS, Picture
from tests.presence.shard import Shard
from tests.presence.simulated import SimulatedTime, installed

pytestmark = [pytest.mark.integration, pytest.mark.timeout(0)]

GRACE = 3_000
SWEEP = 10_000

NAMES = ("w1", "w2")

users = st.sampled_from(USERS)
names = st.sampled_from(NAMES)
devices = st.integers(1, 2)
ages = st.sampled_from([0, 0, 0, 1, 900, 30_000, TTL - 1])
graces = st.sampled_from([0, GRACE])
pasts = st.sampled_from([0, 0, 0, 1])
"""How many incarnations of the gateway ago."""
tokens = st.sampled_from(["d1", "d2"])
spans = st.one_of(
    st.sampled_from([0, 1, GRACE, GRACE + 1, SWEEP, GATEWAY_TTL, GATEWAY_TTL + 1]),
    st.sampled_from([20_000, TTL - 1, TTL, TTL + 1, 2 * TTL + 1, OFFLINE_TTL + 1]),
    st.integers(0, TTL),
)


class PresenceMachine(RuleBasedStateMachine):
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
            max_connections_per_user=MOST,
        )
        self.presence = self.shard.presence
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

    # Time

    @rule(span=spans)
    def time_passes(self, span):
        self.set_time(self.time.now + span)

    @precondition(lambda self: self.time.latest - self.time.now < TTL)
    @rule(span=st.sampled_from([1, 5_000, TTL]))
    def the_clock_steps_back(self, span):
        self.set_time(max(self.time.now - span, self.time.latest - TTL))

    def set_time(self, now: int) -> None:
        self.time.set(now)
        self.model.set_now(now)

    # What gateways do

    @rule(name=names, user=users, device=devices)
    def a_socket_opens(self, name, user, device):
        gateway = self.gateway(name)
        connection = self.connection(gateway, user, device)
        self.sockets[name][connection] = user
        self.connect(gateway, [SignOfLife(user, connection)])

    @rule(name=names, user=users, device=devices, grace=graces, age=ages)
    def a_socket_ends(self, name, user, device, grace, age):
        gateway = self.gateway(name)
        connection = self.connection(gateway, user, device)
        self.sockets[name].pop(connection, None)
        self.release(gateway, [Departure(user, connection, grace, age)])

    @rule(name=names, age=ages)
    def a_gateway_flushes_its_heartbeats(self, name, age):
        self.flush(name, age)

    @rule(name=names)
    def a_gateway_dies_and_starts_anew(self, name):
        self.incarnations[name] += 1
        self.sockets[name] = {}
        self.last_deadlines[name] = 0

    def flush(self, name: str, age: int = 0) -> None:
        """As app/gateway/heartbeats.py does it."""
        gateway = self.gateway(name)
        signs = [SignOfLife(u, c, age) for c, u in self.sockets[name].items()]
        reply = self.heartbeat(gateway, signs, self.last_deadlines[name])
        self.last_deadlines[name] = reply.deadline
        anew = signs if reply.lapsed else reply.gone
        if anew:
            self.connect(gateway, anew)

    # The same calls, late, twice, out of order, or from the dead

    @rule(
        name=names,
        past=pasts,
        calls=st.lists(st.tuples(users, devices, ages), min_size=1, max_size=4),
    )
    def stray_connects(self, name, past, calls):
        gateway = self.gateway(name, past)
        self.connect(gateway, self.signs(gateway, calls))

    @rule(
        name=names,
        past=pasts,
        calls=st.lists(st.tuples(users, devices, ages), max_size=4),
    )
    def stray_heartbeats(self, name, past, calls):
        gateway = self.gateway(name, past)
        self.heartbeat(gateway, self.signs(gateway, calls))

    @rule(
        name=names,
        past=pasts,
        calls=st.lists(st.tuples(users, devices, graces, ages), min_size=1, max_size=4),
    )
    def stray_releases(self, name, past, calls):
        gateway = self.gateway(name, past)
        self.release(
            gateway,
            [
                Departure(user, self.connection(gateway, user, device), grace, age)
                for user, device, grace, age in calls
            ],
        )

    @rule(who=st.lists(users, min_size=1, max_size=4))
    def expire(self, who):
        self.model.expire(who)
        reply = self.presence.store.expire(who)
        assert reply.transitions == self.model.made
        self.finish(reply.must_kick)

    @rule(name=names, past=pasts)
    def reap(self, name, past):
        gateway = self.gateway(name, past)
        expected = self.model.reap(gateway)
        assert set(self.presence.gateways.reap(gateway)) == expected

    @rule()
    def sweep(self):
        self.model.sweep()
        store, must_kick = self.presence.store, False
        for gateway in store.due().gateway_ids:
            self.presence.gateways.reap(gateway)
        while user_ids := store.due(most=2).user_ids:
            must_kick |= store.expire(user_ids).must_kick
        self.finish(must_kick)
        self.state_in_redis_is_right()
        for user in set(USERS) - self.lost:
            is_live = self.picture.deadlines.get(user, 0) > self.time.now
            assert (user in self.picture.online) == is_live
        assert store.due() == Due([], [])

    # The outbox

    @rule(token=tokens)
    def a_drainer_holds(self, token):
        assert self.presence.outbox.hold(token) == self.model.hold(token)

    @rule(token=tokens, unfinished=st.booleans())
    def a_drainer_leaves(self, token, unfinished):
        is_empty = unfinished or self.presence.outbox.length() == 0
        expected = self.model.leave(token, is_empty=is_empty)
        assert self.presence.outbox.leave(token, unfinished=unfinished) == expected

    @rule()
    def the_outbox_is_drained(self):
        self.presence.outbox.acknowledge(self.presence.outbox.read(1000, 1))

    # Interference

    @rule(user=users)
    def somebody_takes_a_user_out_of_the_online_set(self, user):
        if self.client.srem(self.shard.keys.online_users, user):
            self.model.online.discard(user)
            self.lost.add(user)
            self.told[user] = []

    @rule()
    def redis_comes_back_empty(self):
        self.shard.remove()
        self.client.delete("simulated:ttls")
        self.drained = "0"
        self.lost = set()
        self.told = {user: [] for user in USERS}
        # Timestamps are forgotten too: from here on only the clock makes them increase.
        self.model = Model(self.time.now)

    # One call, on both sides

    def signs(
        self, gateway: str, calls: list[tuple[str, int, int]]
    ) -> list[SignOfLife]:
        return [
            SignOfLife(user, self.connection(gateway, user, device), age)
            for user, device, age in calls
        ]

    def connect(self, gateway: str, signs: list[SignOfLife]) -> None:
        refused = self.model.connect(gateway, signs)
        reply = self.presence.store.connect(gateway, signs)
        assert reply.refused == refused
        assert reply.transitions == self.model.made
        for connections in self.sockets.values():
            for connection in refused & set(connections):
                del connections[connection]  # closed with 4429
        self.finish(reply.must_kick)

    def heartbeat(
        self, gateway: str, signs: list[SignOfLife], last_deadline: int = 0
    ) -> HeartbeatReply:
        expected = self.model.heartbeat(gateway, signs, last_deadline)
        reply = self.presence.gateways.heartbeat(gateway, signs, last_deadline)
        assert (reply.lapsed, reply.gone) == expected
        assert reply.deadline == self.model.gateways[gateway]
        return reply

    def release(self, gateway: str, departures: list[Departure]) -> None:
        expected = self.model.release(gateway, departures)
        assert self.presence.store.release(gateway, departures) == expected

    def finish(self, must_kick: bool) -> None:  # noqa: FBT001 - a reply's field
        """Exactly one outbox entry per transition."""
        assert must_kick == self.model.must_kick()
        entries = self.client.xrange(self.shard.keys.transitions, f"({self.drained}")
        made = [
            Transition(data["user_id"], data["status"], int(data["timestamp"]))
            for _, data in entries
        ]
        assert sorted(made, key=str) == sorted(self.model.made, key=str)
        if entries:
            self.drained = entries[-1][0]
        for transition in made:
            self.told[transition.user_id].append(transition)
            if transition.status == "online":
                self.lost.discard(transition.user_id)
        self.model.made = []

    # What must hold at any time, of Redis's own data

    @invariant()
    def state_in_redis_is_right(self):
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
            self.check_transitions(user)

    def check_deadlines(self, now: Picture, user: str) -> None:
        """Who is live is online, and everybody online has an end."""
        leases, deadline = now.leases[user], now.deadlines.get(user)
        if any(end > self.time.now for end in leases.values()):
            assert user in now.online or user in self.lost
        if leases:
            assert deadline == max(leases.values())
            assert self.shard.keys.user_connections(user) in now.expires_at
        elif user in now.online:
            assert deadline is not None
            assert (
                deadline <= self.time.latest
            )  # it was the time when the last one left
        elif user not in self.lost:
            assert deadline is None

    def check_holders(self, now: Picture, user: str) -> None:
        """A gateway holds whom the fan-out has to reach there."""
        for name in NAMES:
            for connection, owner in self.sockets[name].items():
                if (
                    owner == user
                    and now.leases[user].get(connection, 0) > self.time.now
                ):
                    assert user in now.held[self.gateway(name)]

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

    @rule()
    def all_faults_end(self):
        """Gateways flush, beat sweeps, and within TTL + sweep + grace the dots are
        right, whatever has happened before."""
        self.set_time(self.time.latest)
        for _ in range((TTL + GRACE) // SWEEP + 2):
            for name in NAMES:
                self.flush(name)
            self.sweep()
            self.set_time(self.time.now + SWEEP)
        truth = {user for held in self.sockets.values() for user in held.values()}
        assert self.client.smembers(self.shard.keys.online_users) == truth


@pytest.fixture
def machine(client: redis.Redis):
    """The machine on one kind of server."""
    with installed():
        yield type("Machine", (PresenceMachine,), {"client": client})


def test_random_interleavings(machine: Callable[[], PresenceMachine]):
    examples = int(os.environ.get("GREENDOT_MODEL_EXAMPLES", "25"))
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        ),
    )
