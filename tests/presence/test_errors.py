"""Which of the server's replies mean that it is away. Real servers say most of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
import redis
from redis.exceptions import ResponseError

from config import Settings
from models.presence import Presence, PresenceUnavailable
from models.presence.errors import CommandRefused
from models.presence.redis.errors import translated
from models.presence.redis.roundtrip import roundtrip
from models.presence.store import LiveConnection
from tests.presence.shard import GATEWAY
from tests.servers import RedisServer, running_server
from tests.system import wait_until


@pytest.mark.parametrize(
    "reply",
    [
        "MISCONF Redis is configured to save RDB snapshots",
        "Command # 2 (XADD a) of pipeline caused error: NOREPLICAS Not enough",
        "UNBLOCKED force unblock from blocking operation, instance state changed",
        # Redis 6 writes this around what a command in a script was answered.
        "ERR Error running script (call to f_1): @user_script: 1: -OOM command not",
        "ERR max number of clients + cluster connections reached",
        "DENIED Valkey is running in protected mode",
    ],
)
def test_these_do(reply):
    with pytest.raises(PresenceUnavailable, match=reply[:10]):
        raise translated(ResponseError(reply))


@pytest.mark.parametrize("reply", ["WRONGTYPE Operation", "ERR the key is BUSY"])
def test_these_are_our_own_mistakes(reply):
    with pytest.raises(CommandRefused, match=reply):
        raise translated(ResponseError(reply))


@pytest.fixture(scope="module", params=["valkey", "redis"])
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A server of this module, which is not as a server should be."""
    with running_server(request.param) as server:
        yield server


@pytest.fixture(scope="module")
def presence(server: RedisServer) -> Presence:
    return Presence.open(
        Settings.from_env(
            {
                "SECRET_KEY": "s" * 32,
                "REDIS_URL": server.url,
                "CELERY_BROKER_URL": "redis://unused",
            }
        )
    )


Away = Callable[[redis.Redis, RedisServer], Iterator[None]]


def setting(name: str, value: object, afterwards: object) -> Away:
    def away(client: redis.Redis, _server: RedisServer) -> Iterator[None]:
        client.config_set(name, value)
        yield
        client.config_set(name, afterwards)

    return away


def rights(*taken: str) -> Away:
    def away(client: redis.Redis, _server: RedisServer) -> Iterator[None]:
        client.execute_command("ACL", "SETUSER", "default", *taken, "+acl")
        yield
        client.execute_command("ACL", "SETUSER", "default", "~*", "+@all")

    return away


def password(client: redis.Redis, _server: RedisServer) -> Iterator[None]:
    client.config_set("requirepass", "secret")
    client.client_kill_filter(_type="normal", skipme=True)
    yield
    client.config_set("requirepass", "")


def slow_script(client: redis.Redis, server: RedisServer) -> Iterator[None]:
    client.config_set("busy-reply-threshold", 50)
    with server.client() as other:

        def run() -> None:
            with suppress(redis.RedisError):
                other.eval("while true do end", 0)

        running = threading.Thread(target=run)
        running.start()
        yield
        client.script_kill()
        running.join()


def replica(client: redis.Redis, _server: RedisServer) -> Iterator[None]:
    client.replicaof("127.0.0.1", 1)
    yield
    client.replicaof("NO", "ONE")


def dead_primary(client: redis.Redis, server: RedisServer) -> Iterator[None]:
    client.config_set("replica-serve-stale-data", "no")
    yield from replica(client, server)
    client.config_set("replica-serve-stale-data", "yes")


@pytest.mark.integration
@pytest.mark.parametrize(
    ("away", "why"),
    [
        pytest.param(setting("maxmemory", 1, 0), "OOM", id="full"),
        pytest.param(
            setting("min-replicas-to-write", 9, 0), "NOREPLICAS", id="no replicas"
        ),
        pytest.param(rights("-@all"), "NOPERM", id="no rights"),
        pytest.param(rights("-@write"), "script", id="no rights in a script"),
        pytest.param(rights("resetkeys"), "NOPERM", id="no rights to keys"),
        pytest.param(password, "NOAUTH", id="a password"),
        pytest.param(slow_script, "BUSY", id="a slow script"),
        pytest.param(replica, "READONLY", id="a replica"),
        pytest.param(dead_primary, "MASTERDOWN", id="a replica without a primary"),
    ],
)
def test_a_server_that_answers_and_cannot_serve(server, presence, away, why):
    store = presence.shards[0].store
    store.connect(GATEWAY, [LiveConnection("ann", f"{GATEWAY}:1")])
    sign = LiveConnection(why, f"{GATEWAY}:2")
    with server.client() as client, contextmanager(away)(client, server):
        wait_until(lambda: fails(store.connect, GATEWAY, [sign]) is not None)
        assert why in fails(store.connect, GATEWAY, [sign])
    store.connect(GATEWAY, [sign])
    assert presence.online(["ann", why]) == {"ann": True, why: True}


def fails(call: Callable[..., object], *arguments: object) -> str | None:
    """Why `call` says that Redis is not available, if it does."""
    try:
        call(*arguments)
    except PresenceUnavailable as error:
        return str(error)
    return None


@pytest.mark.integration
def test_who_waits_at_a_server_that_becomes_a_replica_asks_elsewhere(server, presence):
    """And nobody else goes on at its other connections."""
    pool = presence._backend._client.connection_pool
    one, other = pool.get_connection(), pool.get_connection()
    free = pool.get_connection()
    pool.release(free)
    sockets = {c: c._sock for c in (one, other, free)}
    with server.client() as client, contextmanager(replica)(client, server):
        one.send_command("XADD", "somewhere", "*", "a", "b")
        with pytest.raises(redis.ConnectionError, match="READONLY"):
            one.read_response()
        assert not one.is_connected
        assert not free.is_connected
        assert other.is_connected, "somebody uses it"
        pool.release(one)
        pool.release(other)
        assert not other.is_connected
    assert roundtrip(presence._backend._client, [("PING",)]) == ["PONG"]
    assert all(c._sock is not sock for c, sock in sockets.items())
