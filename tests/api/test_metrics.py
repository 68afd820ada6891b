"""`GET /metrics` of a running system: what it says follows what really happens."""

from __future__ import annotations

import os
import signal

import pytest

from config import Settings
from models.presence import Presence
from tests.clients import Client
from tests.figures import Figures, scrape
from tests.system import System, wait_until
from tests.webhooks.receiver import SECRETS, Receiver

pytestmark = [pytest.mark.integration, pytest.mark.e2e]


def growth(system: System, before: Figures, web: int = 0) -> Figures:
    """By how much each figure has grown."""
    return {
        name: value - before.get(name, 0)
        for name, value in scrape(system, web).items()
        if value != before.get(name, 0)
    }


def test_the_figures_follow_a_connection(system):
    ada, grace = (f"m-{os.urandom(4).hex()}" for _ in range(2))
    system.befriend(ada, grace)
    with Client(system, grace, beats=None).opened() as watcher:
        # Her own arrival has been told, to nobody: it is not handed to Ada too.
        wait_until(lambda: scrape(system)["greendot_outbox"] == 0)
        before = scrape(system)
        with Client(system, ada, beats=None).opened() as client:
            watcher.expect_change(ada, "online")
            client.send("heartbeat")
            client.expect("heartbeat_ack")
            client.socket.send("garbage")
            client.expect("error")
            grown = growth(system, before)
            assert grown["greendot_connections"] == 1
            assert grown["greendot_online_users"] == 1
            assert grown["greendot_handshakes_total"] == 1
            assert grown["greendot_snapshots_total"] == 1
            assert grown["greendot_notifications_total"] == 1
            assert grown["greendot_heartbeats_total"] == 1
            assert grown["greendot_frames_total"] == 2
            client.send("leave")
            assert client.expect_close() == 1000
        watcher.expect_change(ada, "offline")
        grown = growth(system, before)
        assert grown["greendot_closes_total:1000"] == 1
        assert grown["greendot_notifications_total"] == 2
        assert "greendot_connections" not in grown
        assert "greendot_online_users" not in grown


def test_the_histograms_follow_a_change(system):
    ada, *friends = (f"m-{os.urandom(4).hex()}" for _ in range(8))
    system.befriend(ada, *friends)
    with Client(system, friends[0], beats=None).opened() as watcher:
        wait_until(lambda: scrape(system)["greendot_outbox"] == 0)
        before = scrape(system)
        with Client(system, ada, beats=None).opened():
            watcher.expect_change(ada, "online")
            grown = growth(system, before)
            assert grown["greendot_delivery_seconds_count"] == 1
            assert grown["greendot_delivery_seconds_bucket:+Inf"] == 1
            assert grown["greendot_delivery_seconds_bucket:30.0"] == 1
            assert grown["greendot_delivery_seconds_sum"] >= 0
        # One of seven friends is connected. Workers write once a second.
        bucket = "greendot_audience_size_bucket:10.0"
        wait_until(lambda: bucket in growth(system, before))
        grown = growth(system, before)
        assert grown["greendot_audience_size_sum"] >= 7
        assert grown["greendot_transitions_total:online"] >= 1
        assert grown["greendot_fanout_seconds_count"] >= 1
        assert grown["greendot_fanout_seconds_sum"] > 0
    wait_until(
        lambda: "greendot_task_seconds_count:expire_due" in growth(system, before)
    )
    figures = scrape(system)
    assert figures["greendot_expected_gateways"] == 1
    assert figures["greendot_max_connections"] > figures["greendot_connections"]


@pytest.mark.slow
def test_workers_count_webhooks_and_failed_tasks(own_system_of):
    with Receiver() as receiver:
        system = own_system_of(
            PRESENCE_WEBHOOK_URLS=receiver.url,
            PRESENCE_WEBHOOK_SECRETS=",".join(SECRETS),
            PRESENCE_WEBHOOK_ALLOW_PRIVATE="1",
        )
        with Client(system, "ada").opened():
            wait_until(lambda: scrape(system)["greendot_webhook_seconds_count"] > 0, 30)
        before = scrape(system)
        assert before["greendot_webhook_seconds_sum"] > 0
        assert before["greendot_webhook_requests_total:accepted"] > 0
        assert before["greendot_task_failures_total:expire_due"] == 0
        system.redis.set("presence:sweeps", "of another program")
        # While it is so, /metrics cannot read the sweeps either.
        wait_until(lambda: "tasks.expiry.expire_due[" in system.logs())
        system.redis.delete("presence:sweeps")
        failed = "greendot_task_failures_total:expire_due"
        wait_until(lambda: failed in growth(system, before))
        assert "greendot_task_failures_total:drain_transitions" not in growth(
            system, before
        )


def test_every_end_of_a_socket_is_counted_by_its_reason(system):
    before = scrape(system)
    assert Client(system, token="garbage", beats=None).expect_close() == 4401
    user = f"m-{os.urandom(4).hex()}"
    with Client(system, user, beats=None).opened():
        pass  # closed as a browser does
    lost = Client(system, user, beats=None).opened()
    lost.socket.socket.shutdown(2)
    wait_until(lambda: "greendot_closes_total:lost" in growth(system, before))
    grown = growth(system, before)
    lost.close()
    assert grown["greendot_closes_total:4401"] == 1
    assert grown["greendot_closes_total:client"] == 1
    assert grown["greendot_closes_total:lost"] == 1
    assert grown["greendot_handshakes_total"] == 3


def test_every_web_server_tells_the_same_of_the_whole_system(system):
    with Client(system, f"m-{os.urandom(4).hex()}", web=1).opened():
        names = ("online_users", "gateways:alive", "gateways:overdue", "outbox")

        def state(web: int) -> list[float]:
            figures = scrape(system, web)
            return [figures[f"greendot_{name}"] for name in names]

        # Users of other tests may go offline between the two.
        wait_until(lambda: state(0) == state(1))
        here, there = scrape(system, 0), scrape(system, 1)
        assert here["greendot_gateways:alive"] == 2
        assert here["greendot_redis_up"] == 1
        assert here["greendot_sweeps_held"] == 0
        assert here["greendot_epoch_timestamp_seconds"] == 0
        assert there["greendot_connections"] == here["greendot_connections"] + 1
    wait_until(lambda: "greendot_last_sweep_age_seconds" in scrape(system))
    assert 0 <= scrape(system)["greendot_last_sweep_age_seconds"] < 60


@pytest.mark.slow
def test_any_worker_process_answers_for_all_of_its_web_server(own_system_of):
    system = own_system_of(WEB_CONCURRENCY="2")
    wait_until(lambda: system.redis.zcard("gateways") == 2)
    gateways = [name.split(":")[0] for name in system.redis.zrange("gateways", 0, -1)]
    pids = [int(name.rsplit(".", 1)[1]) for name in gateways]
    clients = [Client(system, f"ada{n}", beats=1).opened() for n in range(12)]
    # Each of many scrapes, whichever process it reaches, comes to the same sum.
    wait_until(lambda: scrape(system)["greendot_connections"] == 12)
    for _ in range(10):
        figures = scrape(system)
        assert figures["greendot_connections"] == 12
        assert figures["greendot_handshakes_total"] == 12
    held = {pid: held_by(system, pid) for pid in pids}
    assert sum(held.values()) == 12
    # What a dead process has counted stays counted; what it had open does not.
    os.kill(pids[0], signal.SIGKILL)
    left = held[pids[1]]
    wait_until(lambda: figures_of(system).get("greendot_connections") == left)
    assert scrape(system)["greendot_handshakes_total"] == 12
    wait_until(lambda: system.redis.zcard("gateways") == 2)
    with Client(system, "grace").opened():
        wait_until(lambda: scrape(system)["greendot_connections"] == left + 1)
        assert scrape(system)["greendot_handshakes_total"] == 13
    for client in clients:
        client.close()
    assert "MonkeyPatchWarning" not in system.logs()


def held_by(system: System, pid: int) -> int:
    (key,) = system.redis.keys(f"gateway:*.{pid}:*:users") or ("none",)
    return system.redis.scard(key)


def figures_of(system: System) -> Figures:
    """Nothing where the process that was asked has just been killed."""
    try:
        return scrape(system)
    except OSError:
        return {}


@pytest.mark.slow
def test_the_breaker_is_seen_to_hold_and_to_let_go(own_system_of):
    system = own_system_of(PRESENCE_BREAKER_HOLD="3")
    assert scrape(system)["greendot_sweep_holds_total"] == 0
    store = Presence.open(Settings.from_env(system.environ)).shards[0].store
    for times in (1, 2):
        store.hold_sweeps(int(system.redis.time()[0]) * 1000)
        figures = scrape(system)
        assert figures["greendot_sweeps_held"] == 1
        assert figures["greendot_sweep_holds_total"] == times
        # The system's own sweep lets go when the hold is over.
        wait_until(lambda: scrape(system)["greendot_sweeps_held"] == 0)
        assert scrape(system)["greendot_sweep_holds_total"] == times


@pytest.mark.parametrize(
    "how", [pytest.param("stands still", marks=pytest.mark.slow), "is gone"]
)
def test_while_redis_is_away_the_processes_own_figures_are_there(own_system_of, how):
    system = own_system_of()
    with Client(system, "ada").opened():
        wait_until(lambda: scrape(system)["greendot_heartbeats_total"] > 0)
        if how == "is gone":
            system.server.kill()
        else:
            system.server.signal(signal.SIGSTOP)
        before = scrape(system)
        assert before["greendot_redis_up"] == 0
        assert before["greendot_connections"] == 1
        assert before["greendot_handshakes_total"] == 1
        assert "greendot_online_users" not in before
        assert "greendot_sweeps_held" not in before
        wait_until(lambda: "greendot_heartbeats_total" in growth(system, before))
        if how == "is gone":
            system.server.start()
        else:
            system.server.signal(signal.SIGCONT)
        wait_until(lambda: scrape(system).get("greendot_online_users") == 1, 20)
        if how == "is gone":
            after = growth(system, before)
            assert after["greendot_epoch_timestamp_seconds"] > 0
            wait_until(lambda: "greendot_lapses_total" in growth(system, before))
            wait_until(
                lambda: "greendot_registered_anew_total" in growth(system, before)
            )
