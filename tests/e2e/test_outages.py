"""Error replies that count as outages: the server is there, but says "not now".

No process ends, none has to be started again, and what was missed is made good. One
system goes through all of them, with its state and its broker on the same server.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import pytest
import redis
from websockets.exceptions import ConnectionClosed

from tests.clients import Client
from tests.managed import Managed
from tests.system import System, wait_until

pytestmark = pytest.mark.e2e

HOLD = 3.0
"""Seconds of an outage: each loop and each task has met it by then."""
SENDING = {"lpush", "exec", "smembers", "ping"}
"""Commands by which Celery sends a task."""
_names = itertools.count()


@pytest.fixture(scope="module")
def store() -> Managed:
    return Managed()


@pytest.fixture(scope="module")
def system(store: Managed) -> Iterator[System]:
    running = System(store=store)
    try:
        running.start()
        yield running
    finally:
        running.close()


Outage = Callable[[Managed], AbstractContextManager[None]]


def setting(name: str, value: object, afterwards: object) -> Outage:
    @contextmanager
    def outage(store: Managed) -> Iterator[None]:
        with store.primary.client() as client:
            client.config_set(name, value)
            try:
                yield
            finally:
                client.config_set(name, afterwards)

    return outage


def rights(*taken: str) -> Outage:
    @contextmanager
    def outage(store: Managed) -> Iterator[None]:
        with store.primary.client() as client:
            client.execute_command("ACL", "SETUSER", "default", *taken, "+acl")
            try:
                yield
            finally:
                client.execute_command("ACL", "SETUSER", "default", "~*", "+@all")

    return outage


@contextmanager
def password(store: Managed) -> Iterator[None]:
    with store.primary.client() as client:
        client.config_set("requirepass", "secret")
        client.client_kill_filter(_type="normal", skipme=True)
        try:
            yield
        finally:
            client.config_set("requirepass", "")


@contextmanager
def slow_script(store: Managed) -> Iterator[None]:
    with store.primary.client() as client, store.primary.client() as other:
        client.config_set("busy-reply-threshold", 50)

        def run() -> None:
            with suppress(redis.RedisError):
                other.eval("while true do end", 0)

        running = threading.Thread(target=run)
        running.start()
        try:
            yield
        finally:
            client.script_kill()
            running.join()


@contextmanager
def dead_primary(store: Managed) -> Iterator[None]:
    """It follows another one, which is away, and does not say what it knew."""
    with store.primary.client() as client:
        client.config_set("replica-serve-stale-data", "no")
        client.replicaof("127.0.0.1", 1)
        try:
            yield
        finally:
            client.replicaof("NO", "ONE")
            client.config_set("replica-serve-stale-data", "yes")


@contextmanager
def replica(store: Managed) -> Iterator[None]:
    """It is a replica for a while, and nobody else is primary."""
    with store.primary.client() as client:
        client.replicaof("127.0.0.1", 1)
        try:
            yield
        finally:
            client.replicaof("NO", "ONE")


OUTAGES = {
    "OOM": setting("maxmemory", 1, 0),
    "NOPERM": rights("-@all"),
    "NOPERM for writes": rights("-@write"),
    "NOAUTH": password,
    "BUSY": slow_script,
    "READONLY": replica,
    "MASTERDOWN": dead_primary,
}
QUICK = {"OOM", "READONLY"}
"""Those of the fast suite."""


@pytest.mark.parametrize(
    "outage",
    [
        pytest.param(outage, id=name, marks=() if name in QUICK else pytest.mark.slow)
        for name, outage in OUTAGES.items()
    ],
)
def test_an_outage_that_is_an_answer(system, store, outage):
    with all_is_well_after(system, store), outage(store):
        time.sleep(HOLD)


@pytest.mark.slow
def test_a_worker_that_starts_in_an_outage_waits_and_stops_when_told_to(system, store):
    with all_is_well_after(system, store):
        for name in ("worker", "beat"):
            system.processes[name].stop()
        with replica(store):
            worker = system.start_process("worker2")
            wait_until(lambda: "Cannot connect" in worker.log.read_text(), 60)
            assert worker.stop() == 0
            for name in ("worker", "beat"):
                system.start_process(name)
            wait_until(
                lambda: "READONLY" in system.processes["beat"].log.read_text(), 60
            )
        del system.processes["worker2"]


def test_the_server_behind_the_address_is_another_one(system, store):
    """Twice: each server is the old one and the new one."""
    for _ in range(2):
        with all_is_well_after(system, store):
            old = store.primary
            store.fail_over()
        # Nobody is left there who would read what is written elsewhere. A connection
        # to the broker may be: whoever sends a task by it notices.
        wait_until(lambda old=old: store.last_commands(old) <= SENDING, 20)


@contextmanager
def all_is_well_after(system: System, store: Managed) -> Iterator[None]:
    """Two friends are connected when it begins. After it everything works again, in
    the processes that were there before."""
    ann, bob, cid = (f"{name}{next(_names)}" for name in ("ann", "bob", "cid"))
    system.befriend(ann, bob, cid)
    try:
        with (
            Client(system, ann).opened() as of_ann,
            Client(system, bob, web=1).opened(),
        ):
            of_ann.expect_change(bob, "online")
            yield

            def comes() -> bool:
                try:
                    with Client(system, cid, web=1).opened():
                        return heard(of_ann, cid, "online")
                except (ConnectionClosed, TimeoutError):
                    return False  # it would come again

            wait_until(comes, 30)
            with store.primary.client() as client:
                assert {ann, bob} <= client.smembers("online_users")
                wait_until(lambda: not client.sismember("online_users", cid), 15)
            assert heard(of_ann, cid, "offline")
            told = [
                frame["data"]["user_id"] for frame in of_ann.seen if is_change(frame)
            ]
            assert told.count(bob) == 1, "somebody was announced who did nothing"
        for name, process in system.processes.items():
            assert process.is_running, f"{name} has ended"
        assert "Traceback" not in system.logs()
    except BaseException:
        sys.stderr.write(system.logs())
        raise


def is_change(frame: dict[str, object]) -> bool:
    return frame["event"] == "friend_status_changed"


def heard(client: Client, user_id: str, status: str) -> bool:
    """Whether `client` knows by now, or hears soon, that `user_id` is `status`."""
    deadline = time.monotonic() + 10
    while status_of(client, user_id) != status:
        if time.monotonic() > deadline:
            return False
        client.changes(0.1)
    return True


def status_of(client: Client, user_id: str) -> str | None:
    """What `client` has been told of `user_id`."""
    known: dict[str, dict[str, object]] = {}
    for frame in client.seen:
        if frame["event"] == "presence_snapshot":
            known = dict(frame["data"]["statuses"])
        elif is_change(frame):
            known[frame["data"]["user_id"]] = frame["data"]
    return known.get(user_id, {}).get("status")
