"""What a receiver hears, and what becomes of a webhook that it does not accept."""

from __future__ import annotations

import math
import re
import threading
import time

import pytest

from models.sql.db import session_factory
from models.sql.presence_settings import put_settings
from models.visibility import PresenceSettings, Visible
from models.webhooks import MAX_EVENTS
from models.worker_metrics import WEBHOOKS
from tasks import webhook_request, webhooks
from tasks.metrics import WorkerMetrics
from tests.presence.shard import GATEWAY, OTHER, Shard

pytestmark = pytest.mark.integration


def types(request):
    return [(event["type"], event["user_id"]) for event in request.events]


def test_the_time_of_each_request_is_counted(world, receiver, monkeypatch):
    monkeypatch.setattr(webhooks, "worker_metrics", WorkerMetrics())
    receiver.answer = lambda _: 500
    world.online("ann")
    world.drain()
    world.send()
    counts = world.shard.presence.worker_counts.read(WEBHOOKS.fields())
    buckets, seconds = WEBHOOKS.read(counts)
    assert buckets[-1] == (math.inf, len(receiver.requests))
    assert seconds > 0


def test_the_body_is_as_documented(world, receiver):
    world.online("ann")
    world.drain()
    world.send()
    (request,) = receiver.requests
    (event,) = request.events
    stored = world.shard.hash("ann")
    assert list(request.content) == ["type", "timestamp", "data"]
    pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(pattern, request.content["timestamp"])
    assert event == {
        "type": "user.online",
        "user_id": "ann",
        "status": "online",
        "version": int(stored["updated_at"]),
        "detail": {
            "availability": "active",
            "text": None,
            "emoji": None,
            "expires_at": None,
            "since": int(stored["updated_at"]),
        },
    }
    assert world.pending() == set()


def test_only_the_newest_state_is_sent(world, receiver):
    world.online("ann", "bob")
    world.drain()
    world.offline("ann")
    world.drain()
    world.send()
    (request,) = receiver.requests
    assert types(request) == [("user.offline", "ann"), ("user.online", "bob")]
    assert "detail" not in request.events[0]


def test_a_change_of_detail_has_its_own_type(world, receiver):
    world.online("ann")
    world.drain()
    world.send()
    world.idle("ann")
    world.drain()
    world.send()
    assert types(receiver.requests[1]) == [("user.detail_changed", "ann")]
    assert receiver.users["ann"].detail["availability"] == "away"
    # A change of detail after a transition that was not heard is told as a transition.
    world.offline("ann")
    world.online("ann")
    world.idle("ann")
    world.drain()
    world.send()
    assert types(receiver.requests[2]) == [("user.online", "ann")]
    assert receiver.users["ann"].detail["availability"] == "away"


def test_nothing_is_sent_if_nothing_has_changed(world, receiver):
    world.drain()
    world.send()
    assert receiver.requests == []


def test_many_changes_are_several_webhooks(world, receiver):
    users = [f"user-{number}" for number in range(2 * MAX_EVENTS + 1)]
    world.online(*users)
    world.drain()
    world.send()
    assert [len(one.events) for one in receiver.requests] == [100, 100, 1]
    assert set(receiver.users) == set(users)


def test_an_unchanged_retry_keeps_its_id(world, receiver):
    receiver.answer = lambda _: 500
    world.online("ann")
    world.drain()
    world.send()
    world.online("bob")  # waits for its turn
    world.drain()
    world.send()
    assert len(receiver.requests) == 1, "the backoff is not over"
    world.let_retry()
    world.send()
    receiver.answer = lambda _: 204
    world.let_retry()
    world.send()
    first, second, third, fourth = receiver.requests
    assert first.id == second.id == third.id != fourth.id
    assert first.body == second.body == third.body
    assert types(fourth) == [("user.online", "bob")]
    assert receiver.statuses() == {"ann": "online", "bob": "online"}
    assert world.state("batch") is None


def test_a_retry_has_a_fresh_timestamp(world, receiver, monkeypatch):
    receiver.answer = lambda _: 500
    world.online("ann")
    world.drain()
    world.send()
    now = receiver.requests[0].timestamp + 7
    monkeypatch.setattr("tasks.webhooks.time.time", lambda: now)
    world.let_retry()
    world.send()
    first, second = receiver.requests
    assert (second.id, second.timestamp) == (first.id, now)
    assert second.signature != first.signature


def test_a_stale_retry_is_replaced_by_the_newest_state(world, receiver):
    receiver.answer = lambda _: 500
    world.online("ann", "bob")
    world.drain()
    world.send()
    world.offline("bob")  # the drainer has not come to it
    receiver.answer = lambda _: 204
    world.let_retry()
    world.send()
    first, second = receiver.requests
    assert first.id != second.id
    assert types(second) == [("user.online", "ann"), ("user.offline", "bob")]


def test_what_changes_while_a_webhook_is_under_way_is_sent_later(world, receiver):
    def answer(_):
        if len(receiver.requests) == 1:
            world.offline("ann")
            world.drain()
        return 204

    receiver.answer = answer
    world.online("ann")
    world.drain()
    world.send()
    assert world.pending() == {"ann"}
    world.send()
    assert world.pending() == set()
    assert receiver.statuses() == {"ann": "offline"}


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 404, 429, 500, 503])
def test_other_answers_are_failures(world, receiver, status):
    with_redirect = {"location": f"{receiver.url}/elsewhere"}
    receiver.headers = with_redirect
    receiver.answer = lambda _: status
    world.online("ann")
    world.drain()
    world.send()
    assert len(receiver.requests) == 1, "a redirect is not followed"
    assert world.pending() == {"ann"}
    (state,) = world.shard.presence.webhooks.states()
    assert (state.state, state.pending) == ("failing", 1)
    assert state.last_error == f"answered {status}"
    receiver.answer = lambda _: 200
    world.let_retry()
    world.send()
    (state,) = world.shard.presence.webhooks.states()
    assert (state.state, state.pending, state.last_error) == ("active", 0, None)
    assert (state.successes, state.failed) == (1, 1)


def test_410_disables_until_it_is_enabled(world, receiver):
    receiver.answer = lambda _: 410
    world.online("ann")
    world.drain()
    world.send()
    world.online("bob")
    world.drain()
    world.let_retry()
    world.send()
    assert len(receiver.requests) == 1
    webhooks = world.shard.presence.webhooks
    (state,) = webhooks.states()
    assert (state.state, state.pending) == ("disabled", 2)
    receiver.answer = lambda _: 200
    webhooks.enable(receiver.url)
    world.settle()
    world.send()
    assert webhooks.states()[0].state == "active"
    assert receiver.statuses() == {"ann": "online", "bob": "online", "cid": "offline"}


def test_a_receiver_that_is_away(world, receiver):
    world.online("ann")
    world.drain()
    receiver.__exit__()
    world.send()
    (state,) = world.shard.presence.webhooks.states()
    assert state.state == "failing"
    assert "refused" in state.last_error.lower()
    # It has been away for an hour.
    hour_ago = world.shard.now() - 3_600_000
    world.set_state(failing_since=hour_ago, failures=12, next_at=0)
    world.send()
    wait = int(world.state("next_at")) - world.shard.now()
    assert 0 < wait <= 600_000
    world.offline("ann")
    world.drain()
    with receiver:
        world.let_retry()
        world.send()
        assert receiver.statuses() == {"ann": "offline"}
    receiver.__enter__()


def test_a_receiver_that_is_too_slow(world, receiver, monkeypatch):
    monkeypatch.setattr(webhook_request, "REQUEST_SECONDS", 0.5)
    released = threading.Event()
    receiver.answer = lambda _: released.wait(10) and 500
    world.online("ann")
    world.drain()
    world.send()
    released.set()
    (state,) = world.shard.presence.webhooks.states()
    assert (state.state, state.pending) == ("failing", 1)
    assert state.last_error == "no answer within 0.5 s"


def test_there_is_one_sender_at_a_time(world, receiver):
    first, second = world.sender(), world.sender()
    second.step()
    assert second.has_lease
    first.step()
    assert not first.has_lease
    world.online("ann")
    world.drain()
    first.step()
    assert receiver.requests == []
    second.step()
    assert len(receiver.requests) == 1


def test_a_sender_that_dies_before_it_forgets_sends_again(world, receiver, monkeypatch):
    world.online("ann")
    world.drain()
    with monkeypatch.context() as patch:
        patch.setattr(world.shard.presence.webhooks, "done", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            world.sender().step()
    world.send()
    first, second = receiver.requests
    assert (first.id, first.body) == (second.id, second.body)
    assert world.pending() == set()


def test_a_user_whose_status_has_expired_is_offline(world, receiver):
    world.online("ann")
    world.drain()
    world.send()
    told = receiver.users["ann"].version
    world.offline("ann")
    world.drain()
    world.shard.client.delete(world.shard.keys.user_status("ann"))
    receiver.answer = lambda _: 500
    world.send()
    receiver.answer = lambda _: 200
    world.let_retry()
    world.send()
    _, first, second = receiver.requests
    assert first.id == second.id
    assert receiver.statuses() == {"ann": "offline"}
    version = receiver.users["ann"].version
    assert version > told
    world.online("ann")
    assert int(world.shard.hash("ann")["updated_at"]) > version


def test_the_host_hears_the_truth_of_a_hidden_user(world, receiver):
    with session_factory(world.engine)() as session:
        settings = PresenceSettings(visibility=Visible.NOBODY)
        put_settings(session, "ann", settings)
        session.commit()
    world.online("ann")
    world.drain()
    world.send()
    assert receiver.statuses() == {"ann": "online"}


def test_a_damaged_user_does_not_hold_up_the_others(world, receiver):
    world.online("ann", "bob")
    world.drain()
    status = world.shard.keys.user_status("ann")
    world.shard.client.set(status, "from another program", ex=60)
    world.send()
    assert receiver.statuses() == {"ann": "online", "bob": "online"}
    assert world.pending() == set()


def test_a_sender_without_a_process_of_its_own_stops_soon(world, receiver):
    world.online("ann")
    world.drain()
    assert world.sender().run(time.monotonic() + 60)
    assert receiver.statuses() == {"ann": "online"}
    assert world.sender().run(time.monotonic() + 60)


# Every user is heard of


def test_a_new_receiver_hears_of_all_users(world, receiver):
    world.online("ann")
    world.drain()
    world.send()
    name = world.shard.keys.webhook_state(world.id)
    world.shard.client.hdel(name, "walk", "taken")  # as of a URL that is new
    world.send()
    assert set(receiver.users) == {"ann"}, "gateways may not have registered yet"
    world.settle()
    world.send()
    assert receiver.statuses() == {"ann": "online", "bob": "offline", "cid": "offline"}
    count = len(receiver.requests)
    world.send()
    assert len(receiver.requests) == count


def test_a_loss_of_data_is_followed_by_the_state_of_all_users(world, receiver):
    world.online("ann", "bob")
    world.drain()
    world.send()
    assert receiver.statuses() == {"ann": "online", "bob": "online"}
    told = {user: state.version for user, state in receiver.users.items()}
    deadline = world.shard.gateways.heartbeat(OTHER).deadline
    world.shard.remove()  # Redis comes back empty, and ann's gateway does too
    world.shard.gateways.heartbeat(OTHER, last_deadline=deadline)
    world.online("ann")
    world.drain()
    world.send()
    world.settle()
    epoch = world.shard.client.get(world.shard.keys.epoch)
    values = {"no_gap_since": 0}
    world.shard.client.hset(world.shard.keys.sweeps, mapping=values)
    world.shard.client.set(world.shard.keys.epoch, int(epoch) - 20_000)
    world.send()
    assert receiver.statuses() == {"ann": "online", "bob": "offline", "cid": "offline"}
    assert receiver.users["bob"].version > told["bob"]


def test_changes_that_another_worker_took_are_not_lost(world, receiver):
    """It had other settings: the URL was not in them."""
    world.online("ann")
    another = Shard.open(world.shard.client, world.shard.keys.prefix)
    another.outbox.release_lease("another", another.outbox.take("another"))
    assert world.pending() == set()
    world.drain()
    assert world.state("walk") is None
    world.settle()
    world.send()
    assert receiver.statuses()["ann"] == "online"


def test_an_entry_that_cannot_be_read_is_followed_by_all_states(world):
    world.shard.client.xadd(world.shard.keys.transitions, {"bad": "entry"})
    world.drain()
    assert world.state("walk") is None


def test_a_repeated_acknowledgement_is_harmless(world, receiver):
    world.online("ann")
    entries = world.shard.outbox.take("a drainer")
    world.shard.outbox.take("a drainer", entries)
    world.send()
    world.shard.outbox.release_lease("a drainer", entries)
    assert world.state("walk") == "0"
    world.send()
    assert receiver.statuses() == {"ann": "online"}


def test_two_gateways_and_one_user(world, receiver):
    """One is killed while the user reconnects at the other one."""
    world.shard.connect("ann", gateway=GATEWAY)
    world.shard.connect("ann", gateway=OTHER)
    world.shard.gateways.heartbeat(GATEWAY)
    world.shard.kill_gateway(GATEWAY)
    world.shard.gateways.reap(GATEWAY)
    world.shard.expire("ann")
    world.drain()
    world.send()
    assert receiver.statuses() == {"ann": "online"}
