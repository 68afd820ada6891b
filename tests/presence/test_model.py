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
    precondition,
    rule,
    run_state_machine_as_test,
)

from models.presence.store import ClosedConnection, Due, LiveConnection
from tests.presence.model import GATEWAY_TTL, KEPT, OFFLINE_TTL, TTL, Model
from tests.presence.picture import USERS
from tests.presence.side_by_side import NAMES, SideBySide
from tests.presence.simulated import installed

EXAMPLES = int(os.environ.get("GREENDOT_MODEL_EXAMPLES", "25"))
# A failure is shrunk, which takes its time.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(600 + EXAMPLES)]

GRACE = 3_000
SWEEP = 10_000

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
    st.sampled_from([20_000, TTL - 1, TTL, TTL + 1, KEPT + 1, OFFLINE_TTL + 1]),
    st.integers(0, TTL),
)


class PresenceMachine(SideBySide):
    """Every rule may come at any time."""

    # Time

    @rule(span=spans)
    def time_passes(self, span):
        self.set_time(self.time.now + span)

    @precondition(lambda self: self.time.latest - self.time.now < TTL)
    @rule(span=st.sampled_from([1, 5_000, TTL]))
    def the_clock_steps_back(self, span):
        # With a status expires its newest timestamp. While its user is online that is
        # remembered nowhere else, until the sweep, which comes every few seconds.
        if any(not self.picture.statuses[user] for user in self.picture.online):
            self.sweep()
        self.set_time(max(self.time.now - span, self.time.latest - TTL))

    # What gateways do

    @rule(name=names, user=users, device=devices)
    def a_socket_opens(self, name, user, device):
        gateway = self.gateway(name)
        connection = self.connection(gateway, user, device)
        self.sockets[name][connection] = user
        self.connect(gateway, [LiveConnection(user, connection)])

    @rule(name=names, user=users, device=devices, grace=graces, age=ages)
    def a_socket_ends(self, name, user, device, grace, age):
        gateway = self.gateway(name)
        connection = self.connection(gateway, user, device)
        self.sockets[name].pop(connection, None)
        self.release(gateway, [ClosedConnection(user, connection, grace, age)])

    @rule(name=names, age=ages)
    def a_gateway_flushes_its_heartbeats(self, name, age):
        self.flush(name, age)

    @rule(name=names)
    def a_gateway_dies_and_starts_anew(self, name):
        self.incarnations[name] += 1
        self.sockets[name] = {}
        self.last_deadlines[name] = 0

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
                ClosedConnection(
                    user, self.connection(gateway, user, device), grace, age
                )
                for user, device, grace, age in calls
            ],
        )

    @rule(who=st.lists(users, min_size=1, max_size=4))
    def expire(self, who):
        self.model.expire(who)
        reply = self.store.expire(who)
        assert reply.transitions == self.model.made
        self.finish(reply.needs_drain)

    @rule(name=names, past=pasts)
    def reap(self, name, past):
        gateway = self.gateway(name, past)
        expected = self.model.reap(gateway)
        assert set(self.gateways.reap(gateway)) == expected

    @rule()
    def sweep(self):
        self.model.sweep()
        store, needs_drain = self.store, False
        for gateway in store.due().gateway_ids:
            self.gateways.reap(gateway)
        while user_ids := store.due(limit=2).user_ids:
            needs_drain |= store.expire(user_ids).needs_drain
        self.finish(needs_drain)
        self.state_in_redis_is_right()
        for user in set(USERS) - self.lost:
            is_live = self.picture.deadlines.get(user, 0) > self.time.now
            assert (user in self.picture.online) == is_live
        assert store.due() == Due([], [])

    # The outbox

    @rule(token=tokens)
    def a_drainer_holds(self, token):
        holds = self.outbox.take(token) is not None
        assert holds == self.model.hold(token)

    @rule(token=tokens, unfinished=st.booleans())
    def a_drainer_leaves(self, token, unfinished):
        is_empty = unfinished or self.outbox.length() == 0
        expected = self.model.leave(token, is_empty=is_empty)
        assert self.outbox.release_lease(token, unfinished=unfinished) == expected

    @rule(token=tokens)
    def the_outbox_is_drained(self, token):
        # What was published is acknowledged, whoever drains meanwhile.
        outbox = self.outbox
        holds = outbox.take(token, self.shard.waiting()) is not None
        assert holds == self.model.hold(token)
        assert outbox.length() == 0

    # Interference

    @rule(user=users)
    def somebody_takes_a_user_out_of_the_online_set(self, user):
        if self.client.srem(self.shard.keys.online_users, user):
            self.model.online.discard(user)
            self.lost.add(user)

    @rule()
    def redis_comes_back_empty(self):
        self.shard.remove()
        self.client.delete("simulated:ttls")
        self.drained = "0"
        self.lost = set()
        self.told = {user: [] for user in USERS}
        # Timestamps are forgotten too: from here on only the clock makes them increase.
        self.model = Model(self.time.now)

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
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        ),
    )
