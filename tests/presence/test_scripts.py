"""Loading scripts, what they may touch, and a server that is away."""

from __future__ import annotations

import re
from importlib import resources

import pytest
import redis

from models.events import GatewayMessage, Transition
from models.presence import Keys, PresenceError, PresenceUnavailable
from models.presence.outbox import OutboxEntry
from models.presence.redis import commands
from models.presence.store import Caller, ClosedConnection, LiveConnection
from models.presence.tickets import Ticket
from models.webhooks import Batch
from tests.presence.shard import GATEWAY, GRACE_MS, OTHER, Shard
from tests.servers import RedisServer, any_server_command, free_port

URL = "https://receiver.example/"
LUA = resources.files("models.presence") / "lua"
SCRIPTS = sorted(
    path.name.removesuffix(".lua")
    for path in LUA.iterdir()
    if path.name
    not in (
        "acknowledge.lua",
        "clock.lua",
        "idle.lua",
        "newest.lua",
        "status.lua",
        "stream.lua",
        "transition.lua",
    )
)


def whole_life(shard: Shard) -> None:
    """Every operation of every part, each of them with something to do."""
    store, gateways = shard.store, shard.gateways
    for gateway in (GATEWAY, OTHER):
        shard.heartbeat("ann", gateway=gateway)
        shard.connect("ann", gateway=gateway)
        shard.heartbeat("ann", gateway=gateway)
    shard.connect("bob")
    shard.connect("bob", 2, age_ms=100)
    shard.release("bob", 1, grace_ms=GRACE_MS)
    shard.release("bob", 2)
    store.release_and_expire(
        Caller(OTHER, 0), [ClosedConnection("cid", f"{OTHER}:9", 0)], ["cid"]
    )
    store.due()
    store.expire(["ann", "bob", "cid"])
    shard.let_pass(GRACE_MS + 1, "bob")
    store.expire(["bob"])
    shard.kill_gateway(GATEWAY)
    store.due()
    store.survey(10_000)
    store.hold_sweeps(1)
    store.hold_sweeps(0)
    shard.presence.overview()
    gateways.heartbeat(OTHER, last_deadline=shard.now() + 10**9)  # a new epoch
    gateways.reap(GATEWAY)
    presence, streams = shard.presence, shard.presence.gateway_streams
    presence.statuses(["ann", "bob", "cid"])
    presence.inspect("ann")
    presence.start_visibility_change("ann")
    shard.connect("ann")
    idle = LiveConnection("ann", f"{GATEWAY}:1", is_idle=True)
    store.activity([idle])
    store.record_detail_change("ann")
    presence.online(["ann", "bob", "cid"])
    presence.check_writes()
    streams.holders(["ann", "bob"])
    streams.gateway_ids()
    streams.publish({OTHER: GatewayMessage(snapshots=("ann",))})
    streams.read(OTHER, "0-0", 1)
    outbox = shard.outbox
    outbox.take("token")
    outbox.release_lease("token", outbox.take("token", limit=1))
    outbox.take("token", outbox.take("token", wait_ms=1))
    outbox.release_lease("token")
    webhooks_of(shard)
    shard.presence.tickets.take(shard.presence.tickets.issue(Ticket("ann", 1, None)))
    presence.limits.count("rest", "ann", 1, 1000)
    gateways.forget(OTHER)


def webhooks_of(shard: Shard) -> None:
    """Every operation of the webhooks."""
    webhooks = shard.presence.webhooks
    for _ in range(2):
        taken = webhooks.take(URL, "token", 9)[0]
        truths = webhooks.truths(0, ["ann", "bob"])
        batch = Batch.of(truths, {}, {"ann": 0, "bob": 0})
        webhooks.keep(URL, 0, batch)
        webhooks.failed(URL, 0, {"failures": 1})
        webhooks.done(URL, 0, batch)
        webhooks.clear_failures(URL, [0])
        webhooks.add_page(URL, 0, taken, ["ann", "bob"], None)
        webhooks.enable(URL)
        webhooks.states()
        webhooks.leave(URL, "token")


# What they are


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_says_what_it_is(name):
    text = (LUA / f"{name}.lua").read_text("utf-8")
    for part in ("-- Purpose:", "-- KEYS:", "-- ARGV:", "-- Returns:"):
        assert part in text
    assert len(text.splitlines()) <= 60


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_make_no_key_and_read_no_clock_of_their_own(name):
    text = (LUA / f"{name}.lua").read_text("utf-8")
    code = "\n".join(line.partition("--")[0] for line in text.splitlines())
    assert "'TIME'" not in code
    first_arguments = re.findall(r"\bp?call\('\w+', ([^,)]+)", code)
    # These two call functions of other files only.
    assert first_arguments or name in {"statuses", "publish_visibility_change"}
    local = {"status", "connections", "status_key"}
    assert {one for one in first_arguments if not one.startswith("KEYS[")} <= local


def test_there_is_one_clock():
    text = (LUA / "clock.lua").read_text("utf-8")
    assert text.count("redis.call('TIME')") == 1
    assert all(text in commands.source(name) for name in SCRIPTS)


# What they touch


@pytest.mark.integration
@pytest.mark.parametrize("prefix", ["{p7}:", ""])
def test_scripts_touch_only_their_keys(redis_server, prefix):
    """The server tells each command that a script calls: its key must be one of the
    KEYS of that very call, and begin with the shard's prefix."""
    url = redis_server.url.removesuffix("/0") + "/7"
    client = redis.Redis.from_url(url, decode_responses=True)
    shard = Shard.open(client, prefix, webhook_urls=(URL,))
    whole_life(shard)  # loads the scripts
    declared: list[str] = []
    called: set[str] = set()
    with client.monitor() as monitor:
        whole_life(shard)
        client.echo("the end")
        for command in monitor.listen():
            words = command["command"].split(" ")
            if words == ["ECHO", "the", "end"]:
                break
            if words[0] == "EVALSHA":
                declared = words[3 : 3 + int(words[2])]
                assert all(key.startswith(prefix) for key in declared)
            elif command["client_type"] == "lua" and words[0] != "TIME":
                called.add(words[0])
                key = words[2] if words[0] == "XINFO" else words[1]
                assert key in declared, command
    assert all(key.startswith(prefix) for key in client.scan_iter())
    shard.remove()
    client.close()
    assert called >= {"HSET", "PEXPIRE", "SADD", "SREM", "XADD", "ZADD", "ZREM"}


@pytest.mark.integration
def test_shards_do_not_see_each_other(client):
    one, two = Shard.open(client), Shard.open(client)
    one.connect("ann")
    assert two.presence.online(["ann"]) == {"ann": False}
    assert two.connect("ann").transitions
    one.release("ann")
    one.expire("ann")
    assert two.is_online("ann")
    one.remove()
    two.remove()


def test_default_names_are_the_public_ones():
    keys = Keys()
    assert keys.online_users == "online_users"
    assert keys.user_status("u1") == "user:u1:status"
    assert keys.user_connections("u1") == "user:u1:connections"
    assert keys.deadlines == "online_users:deadlines"
    assert keys.transitions == "presence:transitions"
    assert keys.gateways == "gateways"
    assert keys.gateway_users("g") == "gateway:g:users"
    assert keys.gateway_events("g") == "gateway:g:events"


# Loading


@pytest.mark.integration
def test_scripts_are_loaded_again_after_the_server_forgot_them(shard):
    shard.connect("ann")
    shard.client.script_flush()
    assert shard.connect("bob").transitions
    shard.client.script_flush()
    whole_life(shard)
    assert len(shard.transitions()) == 0


@pytest.mark.integration
def test_a_pipeline_of_script_calls_survives_it_too(shard):
    shard.connect("u1100")
    shard.client.script_flush()
    users = [f"u{number}" for number in range(1200)]
    found = shard.presence.statuses(users)
    assert [status.user_id for status in found if status.online] == ["u1100"]
    shard.client.script_flush()
    left = [ClosedConnection("u1100", f"{GATEWAY}:1", 0)]
    assert shard.store.release_and_expire(
        Caller(GATEWAY, 0), left, ["u1100"]
    ).transitions


# A server that is away


def operations(shard: Shard) -> dict[str, object]:
    store, gateways = shard.store, shard.gateways
    outbox, tickets = shard.outbox, shard.presence.tickets
    presence, streams = shard.presence, shard.presence.gateway_streams
    sign = LiveConnection("ann", f"{GATEWAY}:1")
    entry = OutboxEntry("1-1", Transition("ann", "online", 1))
    return {
        "connect": lambda: store.connect(GATEWAY, [sign]),
        "release": lambda: shard.release("ann"),
        "expire": lambda: store.expire(["ann"]),
        "activity": lambda: store.activity([sign]),
        "record_detail_change": lambda: store.record_detail_change("ann"),
        "due": store.due,
        "survey": lambda: store.survey(1),
        "overview": shard.presence.overview,
        "hold_sweeps": lambda: store.hold_sweeps(1),
        "statuses": lambda: presence.statuses(["ann"]),
        "online": lambda: presence.online(["ann"]),
        "check_writes": presence.check_writes,
        "heartbeat": lambda: gateways.heartbeat(GATEWAY, [sign]),
        "holders": lambda: streams.holders(["ann"]),
        "gateway_ids": streams.gateway_ids,
        "publish": lambda: streams.publish({GATEWAY: GatewayMessage()}),
        "read": lambda: streams.read(GATEWAY, "0-0", 1),
        "reap": lambda: gateways.reap(GATEWAY),
        "forget": lambda: gateways.forget(GATEWAY),
        "drain": lambda: outbox.take("t", [entry]),
        "release_lease": lambda: outbox.release_lease("t"),
        "wait": lambda: outbox.take("t", wait_ms=1),
        "length": outbox.length,
        "issue": lambda: tickets.issue(Ticket("ann", 1, None)),
        "take": lambda: tickets.take("t"),
        "count": lambda: presence.limits.count("rest", "ann", 1, 1000),
    }


@pytest.mark.parametrize("name", operations(Shard.open(redis.Redis())))
def test_no_server_is_presence_unavailable(name):
    client = redis.Redis(port=free_port(), decode_responses=True, retry=None)
    with pytest.raises(PresenceUnavailable, match="Redis is not available"):
        operations(Shard.open(client, ""))[name]()
    client.close()


def test_the_error_can_be_caught_as_the_stores():
    assert issubclass(PresenceUnavailable, PresenceError)


@pytest.mark.integration
def test_a_server_that_dies_and_comes_back_empty():
    server = RedisServer(any_server_command())
    server.start()
    client = redis.Redis(port=server.port, decode_responses=True, retry=None)
    try:
        shard = Shard.open(client, "")
        (first,) = shard.connect("ann").transitions
        server.kill()
        for operation in (shard.connect, shard.expire, shard.heartbeat):
            with pytest.raises(PresenceUnavailable):
                operation("ann")
        server.start()
        # As a gateway does: its heartbeat is answered with gone, and it registers anew.
        assert not shard.heartbeat("ann")
        (again,) = shard.connect("ann").transitions
        assert again.timestamp > first.timestamp
        assert shard.heartbeat("ann")
        assert shard.presence.online(["ann"]) == {"ann": True}
    finally:
        client.close()
        server.close()


@pytest.mark.integration
@pytest.mark.parametrize(
    ("name", "value"), [("maxmemory", "1"), ("min-replicas-to-write", "1")]
)
def test_a_server_that_cannot_write_now_is_away(name, value):
    """Out of memory; a primary without its replicas. Both pass."""
    server = RedisServer(any_server_command())
    server.start()
    client = redis.Redis(port=server.port, decode_responses=True, retry=None)
    try:
        shard = Shard.open(client, "")
        shard.connect("ann")
        client.config_set(name, value)
        with pytest.raises(PresenceUnavailable):
            shard.heartbeat("ann")
        client.config_set(name, "0")
        assert shard.heartbeat("ann")
    finally:
        client.close()
        server.close()
