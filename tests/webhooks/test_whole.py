"""Webhooks of a whole Greendot: real processes, which are killed and restarted."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from models.presence.keys import receiver_id
from tests.clients import Client
from tests.servers import KeptRedis
from tests.system import SERVICE_KEY, System, wait_until
from tests.webhooks.receiver import SECRETS, Receiver

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PATIENCE = 60.0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def start(own_system_of: Callable[..., System], receiver: Receiver):
    """Starts a system with webhooks to the receiver."""

    def start(**environ) -> System:
        return own_system_of(
            PRESENCE_WEBHOOK_URLS=receiver.url,
            PRESENCE_WEBHOOK_SECRETS=",".join(SECRETS),
            PRESENCE_WEBHOOK_ALLOW_PRIVATE="1",
            **environ,
        )

    return start


def webhook(system: System) -> dict[str, object]:
    (found,) = system.admin("GET", "/webhooks")["data"]["webhooks"]
    return found


def believes(receiver: Receiver, **statuses: str) -> Callable[[], bool]:
    return lambda: statuses.items() <= receiver.statuses().items()


def restart_worker(system: System) -> None:
    """As a crash. Its lease is over at once, so that the test need not wait for it."""
    system.processes["worker"].kill()
    key = f"presence:webhook:{receiver_id(system.environ['PRESENCE_WEBHOOK_URLS'])}"
    system.redis.delete(f"{key}:sender")
    system.start_process("worker")


def retry_now(system: System, receiver: Receiver) -> None:
    """The backoff is over."""
    system.redis.hdel(f"presence:webhook:{receiver_id(receiver.url)}:state", "next_at")


@contextmanager
def failing(receiver: Receiver, status: int) -> Iterator[None]:
    before, receiver.answer = receiver.answer, lambda _: status
    yield
    receiver.answer = before


def test_a_host_hears_of_users_and_asks_for_its_receivers(start, receiver):
    system = start()
    system.befriend("ann", "bob")
    with Client(system, "ann").opened():
        wait_until(believes(receiver, ann="online"), PATIENCE)
        # Its URL is new: it hears of all users.
        wait_until(believes(receiver, bob="offline"), PATIENCE)
    wait_until(believes(receiver, ann="offline"), PATIENCE)
    wait_until(lambda: webhook(system)["pending"] == 0)
    assert webhook(system) == {
        "url": receiver.url,
        "state": "active",
        "pending": 0,
        "last_error": None,
    }
    metrics = system.metrics()
    assert 'greendot_webhooks{state="active"} 1.0' in metrics
    assert "greendot_webhook_pending 0.0" in metrics
    for method, path in (("GET", "/webhooks"), ("POST", "/webhooks/enable")):
        assert system.request(method, f"/api/admin{path}", {})[0] == 401
    for body, status in (({"url": "http://other"}, 404), ({}, 400), ({"url": 1}, 400)):
        answer = system.request(
            "POST", "/api/admin/webhooks/enable", body, token=SERVICE_KEY
        )
        assert answer[0] == status


@pytest.mark.slow
def test_410_holds_over_a_restart_of_everything(start, receiver):
    store = KeptRedis()
    system = start(store=store)
    with failing(receiver, 410), Client(system, "ann").opened():
        wait_until(lambda: webhook(system)["state"] == "disabled", PATIENCE)
        count = len(receiver.requests)
        for name in ("worker", "beat", "web0"):
            system.processes[name].kill()
        store.broker.kill()
        store.start()
        system.start_web(0)
        system.start_process("worker")
        system.start_process("beat")
        system.wait_ready()
    with Client(system, "bob").opened():
        wait_until(lambda: webhook(system)["pending"] >= 1, PATIENCE)
        assert webhook(system)["state"] == "disabled"
        assert "410" in webhook(system)["last_error"]
        assert len(receiver.requests) == count
        system.admin("POST", "/webhooks/enable", {"url": receiver.url})
        wait_until(believes(receiver, bob="online", ann="offline"), PATIENCE)
        assert webhook(system)["state"] == "active"


def test_redis_restarts_with_its_data(start, receiver):
    store = KeptRedis()
    system = start(store=store)
    with failing(receiver, 503):
        with Client(system, "ann").opened(), Client(system, "bob").opened():
            wait_until(lambda: webhook(system)["pending"] == 2, PATIENCE)
        wait_until(lambda: not system.is_online("ann"))
        for _ in range(2):
            store.broker.kill()
            store.start()
        system.wait_ready()
        assert webhook(system)["pending"] >= 2
        assert webhook(system)["state"] == "failing"
    retry_now(system, receiver)
    wait_until(believes(receiver, ann="offline", bob="offline"), PATIENCE)


def test_a_gateway_is_killed_and_users_reconnect_elsewhere(start, receiver):
    system = start(webs=2)
    with (
        Client(system, "ann", web=1).opened(),
        Client(system, "bob", web=1).opened(),
    ):
        wait_until(believes(receiver, ann="online", bob="online"), PATIENCE)
        system.processes["web1"].kill()
        with Client(system, "ann").opened():
            wait_until(believes(receiver, bob="offline"), PATIENCE)
            # The version sorts out what comes late.
            wait_until(lambda: webhook(system)["pending"] == 0, PATIENCE)
            assert receiver.statuses()["ann"] == "online"
            stored = system.redis.hgetall("user:ann:status")
            newest = max(int(stored["updated_at"]), int(stored.get("sequence", 0)))
            assert receiver.users["ann"].version == newest


@pytest.mark.parametrize(
    ("kills", "seed"), [(4, 1), pytest.param(40, 2, marks=pytest.mark.slow)]
)
@pytest.mark.timeout(1200)
def test_a_worker_is_killed_at_any_point(start, receiver, kills, seed):
    """Users come and go, webhooks fail at times, and the worker dies again and again.
    In the end the receiver believes what is true. It has not heard of all users anew,
    which would hide a loss."""
    system = start()
    system.befriend("ghost", "other-ghost")
    ghosts = {"ghost": "offline", "other-ghost": "offline"}
    wait_until(believes(receiver, **ghosts), PATIENCE)
    receiver.users.clear()
    choose = random.Random(seed)  # noqa: S311 - for a test
    users = [f"user-{number}" for number in range(12)]
    sockets: dict[str, Client] = {}
    receiver.answer = lambda _: 500 if choose.random() < 0.2 else 200
    for _ in range(kills):
        until = time.monotonic() + choose.uniform(1, 4)
        while time.monotonic() < until:
            user = choose.choice(users)
            if user in sockets:
                sockets.pop(user).close()
            else:
                sockets[user] = Client(system, user)
            retry_now(system, receiver)
            time.sleep(choose.uniform(0, 0.1))
        restart_worker(system)
    receiver.answer = lambda _: 200

    def is_true() -> bool:
        retry_now(system, receiver)
        expected = {
            user: "online" if user in sockets else "offline"
            for user in users
            if system.redis.exists(f"user:{user}:status")
        }
        return receiver.statuses() == expected

    try:
        wait_until(is_true, PATIENCE)
        wait_until(lambda: webhook(system)["pending"] == 0, PATIENCE)
        for user, state in receiver.users.items():
            stored = system.redis.hgetall(f"user:{user}:status")
            assert state.version == int(stored["updated_at"])
            assert state.status == stored["status"]
    finally:
        for socket in sockets.values():
            socket.close()


@pytest.mark.slow
def test_a_slow_receiver_does_not_delay_sweeps(start, receiver):
    """It takes longer than a sweep may be late. Users still go offline in time."""
    system = start()
    receiver.answer = lambda _: time.sleep(8) or 200
    with Client(system, "ann").opened():
        wait_until(lambda: receiver.requests != [], PATIENCE)
        with Client(system, "bob", beats=None).opened():
            wait_until(lambda: not system.is_online("bob"), 30)
    assert "seem to be gone at once" not in system.logs()
    wait_until(believes(receiver, ann="offline", bob="offline"), PATIENCE)


def test_several_shards_and_two_receivers(own_system_of, receiver):
    with Receiver() as other:
        other.answer = lambda _: 500
        system = own_system_of(
            PRESENCE_WEBHOOK_URLS=f"{receiver.url},{other.url}",
            PRESENCE_WEBHOOK_SECRETS=",".join(SECRETS),
            PRESENCE_WEBHOOK_ALLOW_PRIVATE="1",
            PRESENCE_SHARDS="3",
            CELERY_WORKER_CONCURRENCY="5",
        )
        users = [f"user-{number}" for number in range(9)]
        clients = [Client(system, user) for user in users]
        wait_until(lambda: len(receiver.users) == len(users), PATIENCE)
        assert set(receiver.statuses().values()) == {"online"}
        for client in clients:
            client.close()
        wait_until(lambda: set(receiver.statuses().values()) == {"offline"}, PATIENCE)
        found = system.admin("GET", "/webhooks")["data"]["webhooks"]
        assert [one["url"] for one in found] == [receiver.url, other.url]
        assert [one["state"] for one in found] == ["active", "failing"]
        assert found[1]["pending"] == len(users)
