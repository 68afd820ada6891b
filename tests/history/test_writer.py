"""From the outbox to SQL: nothing is lost, and nothing is doubled."""

from __future__ import annotations

import logging
import time

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from models.presence.unstored import UnstoredTransitions
from models.sql.db import session_factory
from models.sql.graph import delete_user
from models.sql.sessions import UserSession
from tasks import history
from tasks.history import BATCH, WAIT_FOR_USER_MS, HistoryWriter, delete_sessions
from tests.presence.shard import OTHER
from tests.system import wait_until

pytestmark = pytest.mark.integration


def test_a_session_and_last_seen(world):
    world.online("ann")
    start = world.updated_at("ann")
    world.drain()
    world.write()
    assert world.sessions("ann") == [UserSession(start, None)]
    world.offline("ann")
    world.drain()
    world.write()
    end = world.last_seen("ann")
    assert world.sessions("ann") == [UserSession(start, end)]
    assert world.stored("ann") == ("ann", world.updated_at("ann"), False, end)
    assert world.stored("bob") is None
    assert world.waiting() == 0


def test_a_user_who_is_expired_was_there_until_the_last_heartbeat(world):
    world.online("ann")
    start = world.updated_at("ann")
    wait_until(lambda: world.shard.now() > start + 20)
    assert world.shard.heartbeat("ann")
    beat = world.last_seen("ann")
    assert beat > start
    keys = world.shard.keys
    for key in (keys.deadlines, keys.user_connections("ann")):
        for name in world.shard.client.zrange(key, 0, -1):
            world.shard.client.zadd(key, {name: beat + 1})
    wait_until(lambda: world.shard.now() > beat + 10)
    assert world.shard.expire("ann")
    world.drain()
    world.write()
    (session,) = world.sessions("ann")
    assert session == UserSession(start, beat)
    assert world.stored("ann").last_seen == beat


def test_a_session_has_any_number_of_devices(world):
    world.online("ann")
    start = world.updated_at("ann")
    world.online("ann", number=2)
    world.offline("ann")
    world.drain()
    world.write()
    assert world.sessions("ann") == [UserSession(start, None)]


def test_short_sessions_in_one_batch_are_all_there(world):
    starts = []
    for _ in range(5):
        world.online("ann")
        starts.append(world.updated_at("ann"))
        world.offline("ann")
    world.drain()
    world.write()
    assert [one.start for one in world.sessions("ann")] == starts


def test_without_sessions_only_last_seen_is_stored(world):
    world.keeps_sessions = False
    world.online("ann")
    world.offline("ann")
    world.drain()
    world.write()
    assert world.sessions("ann") == []
    assert world.stored("ann").last_seen == world.last_seen("ann")


def test_sessions_switched_on_begin_with_who_is_online(world):
    world.keeps_sessions = False
    world.online("ann")
    world.drain()
    world.write()
    world.keeps_sessions = True
    world.write()
    assert world.sessions("ann") == [UserSession(world.updated_at("ann"), None)]


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("where", ["take", "_store", "_waiting", "done", "leave"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_writer_killed_at_any_point(world, monkeypatch, where, when):
    """The next one does the rest, and does nothing twice."""
    wanted = []
    for _ in range(3):
        world.online("ann", "who")
        start = world.updated_at("ann")
        world.offline("ann", "who")
        wanted.append(UserSession(start, max(start, world.last_seen("ann"))))
    world.drain()

    owner = (
        UnstoredTransitions if hasattr(UnstoredTransitions, where) else HistoryWriter
    )
    real = getattr(owner, where)

    def killed(*args, **options):
        if when == "after":
            real(*args, **options)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(owner, where, killed)
        with pytest.raises(Killed):
            world.writer().run(time.monotonic())
    world.write()
    assert world.sessions("ann") == wanted
    assert world.stored("ann").last_seen == world.last_seen("ann")


def test_a_drainer_that_acknowledges_twice(world):
    world.online("ann")
    entries = world.shard.outbox.take("slow")
    world.shard.client.delete(world.shard.keys.drainer)
    start = world.updated_at("ann")
    world.offline("ann")
    world.drain()
    world.write()
    world.shard.outbox.release_lease("slow", entries)  # after the newer one
    assert world.waiting() == 1
    world.write()
    assert world.sessions("ann") == [UserSession(start, world.last_seen("ann"))]
    assert not world.stored("ann").online


def test_an_entry_of_an_older_version_has_no_last_seen(world):
    now = world.shard.now()
    for status, at in (("online", now), ("offline", now + 5)):
        fields = {"v": 2, "user_id": "ann", "status": status, "timestamp": at}
        world.shard.client.xadd(world.shard.keys.transitions, fields)
    world.drain()
    world.write()
    assert world.sessions("ann") == [UserSession(now, now + 5)]


def test_one_writer_at_a_time(world):
    world.online("ann")
    world.drain()
    queue = world.shard.presence.shards[0].unstored
    assert queue.take("another", "0", 10)
    writer = HistoryWriter(world.shard.presence, world.engine, 0, keeps_sessions=True)
    assert not writer.run(time.monotonic())
    assert world.waiting() == 1
    queue.leave("another")
    writer.run(time.monotonic())
    assert world.waiting() == 0


def test_a_run_ends_when_its_time_is_over(world):
    users = [f"user-{number}" for number in range(BATCH + 1)]
    world.put_users(*users)
    world.write()  # the walk
    world.online(*users)
    world.drain()
    assert world.writer().run(time.monotonic())
    assert world.waiting() == 1
    assert not world.writer().run(time.monotonic() + 60)
    assert world.waiting() == 0


# Users who are not stored


def test_a_new_user_who_is_stored_late(world):
    world.online("new", "ann")
    start = world.updated_at("new")
    world.drain()
    world.write()
    assert world.waiting() == 1, "the others go on"
    assert world.sessions("ann")
    world.offline("new")
    world.drain()
    world.put_users("new")
    world.write()
    assert world.sessions("new") == [UserSession(start, world.last_seen("new"))]
    assert world.waiting() == 0


def test_a_deleted_user_is_forgotten(world, monkeypatch):
    world.online("ann", "bob")
    world.drain()
    world.write()
    with session_factory(world.engine)() as session:
        delete_user(session, "ann")
        session.commit()
    world.offline("ann")
    world.drain()
    world.write()
    assert world.waiting() == 1
    monkeypatch.setattr(history, "WAIT_FOR_USER_MS", -WAIT_FOR_USER_MS)
    world.write()
    assert world.waiting() == 0
    assert world.sessions("ann") == []
    assert world.stored("ann") is None
    assert world.stored("bob").online


def test_an_unknown_user_who_is_online_waits(world, monkeypatch):
    monkeypatch.setattr(history, "WAIT_FOR_USER_MS", -WAIT_FOR_USER_MS)
    world.online("new")
    world.drain()
    world.write()
    assert world.waiting() == 1


# Bad entries and outages


def test_a_bad_entry_never_holds_up_the_rest(world, caplog):
    world.online("ann")
    world.drain()
    stream = world.shard.keys.unstored
    good = {
        "v": 1,
        "user_id": "bob",
        "status": "online",
        "timestamp": 5,
        "last_seen": 5,
    }
    for bad in (
        {"user_id": "b b"},
        {"user_id": b"\xff\xfe"},
        {"status": "away"},
        {"timestamp": "now"},
        {"last_seen": str(2**60)},
        {"last_seen": "-1"},
    ):
        world.shard.client.xadd(stream, good | bad)
    world.shard.client.xadd(stream, {"something": "else"})
    world.online("cid")
    world.drain()
    with caplog.at_level(logging.WARNING):
        world.write()
    assert world.waiting() == 0
    assert len(caplog.records) == 7
    assert world.stored("ann").online
    assert world.stored("cid").online
    assert world.stored("bob") is None


def test_an_entry_of_a_newer_version_is_left_to_a_newer_worker(world):
    fields = {"v": 2, "user_id": "bob", "what": "ever"}
    world.shard.client.xadd(world.shard.keys.unstored, fields)
    world.online("ann")
    world.drain()
    world.write()
    assert world.waiting() == 1
    assert world.stored("ann").online


def test_a_row_that_the_database_refuses(world, caplog):
    with world.engine.begin() as connection:
        if world.engine.dialect.name == "sqlite":
            refusal = (
                "CREATE TRIGGER refuse BEFORE INSERT ON last_seen "
                "WHEN NEW.user_id = 'bob' BEGIN SELECT RAISE(ABORT, 'no bob'); END"
            )
        else:
            refusal = (
                "ALTER TABLE last_seen ADD CONSTRAINT no_bob CHECK (user_id <> 'bob')"
            )
        connection.execute(text(refusal))
    world.online("ann", "bob", "cid")
    world.drain()
    with caplog.at_level(logging.WARNING):
        world.write()
    assert world.waiting() == 0
    assert "bob" in caplog.text
    assert world.stored("ann").online
    assert world.stored("cid").online


def test_another_program_stores_a_value_under_our_key(world):
    world.online("ann")
    world.drain()
    world.shard.client.delete(world.shard.keys.unstored)
    world.shard.client.set(world.shard.keys.unstored, "a value")
    world.online("bob")
    world.drain()  # must not fail
    world.write()
    assert world.stored("bob").online
    assert world.stored("ann").online, "the walk has found it"
    world.shard.client.delete(world.shard.keys.unstored)
    world.shard.client.set(world.shard.keys.unstored, "a value")
    world.write()
    assert world.shard.client.exists(world.shard.keys.unstored) == 0


def test_while_the_database_is_away_the_queue_waits(world):
    world.online("ann")
    start = world.updated_at("ann")
    world.drain()
    with world.engine.begin() as connection:
        connection.execute(text("ALTER TABLE last_seen RENAME TO hidden"))
    with pytest.raises(DBAPIError):
        world.write()
    assert world.waiting() == 1
    world.offline("ann")
    world.drain()
    with world.engine.begin() as connection:
        connection.execute(text("ALTER TABLE hidden RENAME TO last_seen"))
    world.write()
    assert world.sessions("ann") == [UserSession(start, world.last_seen("ann"))]


def test_the_oldest_were_cut_off(world):
    """As by the bound of the queue: all users are compared."""
    world.write()
    users = [f"user-{number}" for number in range(400)]
    world.put_users(*users)
    world.online(*users)
    world.drain()
    world.shard.client.xtrim(world.shard.keys.unstored, 100, approximate=False)
    world.write()
    assert all(world.stored(user).online for user in users)
    assert all(len(world.sessions(user)) == 1 for user in users)


# Walks


def test_the_first_walk_finds_what_was_there_before(world):
    world.online("ann", "bob")
    world.offline("bob")
    outbox = world.shard.outbox
    world.shard.client.delete(world.shard.keys.transitions)  # as by an older worker
    assert not outbox.length()
    world.write()
    assert world.sessions("ann") == [UserSession(world.updated_at("ann"), None)]
    assert world.stored("bob").last_seen == world.last_seen("bob")


def test_changes_that_an_older_worker_has_drained(world):
    world.write()
    world.online("ann")
    entries = world.shard.outbox.take("an old drainer")
    ids = [entry.entry_id for entry in entries]
    world.shard.client.xdel(world.shard.keys.transitions, *ids)
    world.shard.client.incrby(world.shard.keys.taken, len(ids))
    world.shard.client.delete(world.shard.keys.drainer)
    world.write()
    assert world.stored("ann") is None, "nothing tells of it"
    world.online("bob")
    world.drain()  # by a worker of this version
    world.write()
    assert world.stored("ann").online


def test_an_idle_walk_is_over(world):
    world.write()
    walk = world.shard.client.hget(world.shard.keys.unstored_state, "walk")
    assert walk == "0s"


def test_a_walk_waits_until_all_gateways_have_registered(world):
    world.online("ann")
    world.drain()
    world.write()
    world.lose()
    world.write()
    assert world.stored("ann").online
    world.settle()
    world.write()
    assert not world.stored("ann").online


def test_redis_comes_back_empty(world):
    """Bob's socket was open all the time. Ann was gone when Redis came back. Cid had
    left before."""
    world.online("ann", "bob", "cid")
    starts = {user: world.updated_at(user) for user in ("ann", "bob", "cid")}
    world.offline("cid")
    left = world.last_seen("cid")
    world.drain()
    world.write()
    world.lose()
    world.shard.connect("bob", gateway=OTHER)
    world.drain()
    world.settle()
    world.write()
    assert world.sessions("ann") == [UserSession(starts["ann"], world.epoch)]
    assert world.sessions("bob") == [UserSession(starts["bob"], None)]
    assert world.sessions("cid") == [UserSession(starts["cid"], left)]
    world.online("ann")
    world.drain()
    world.write()
    assert [one.end for one in world.sessions("ann")] == [world.epoch, None]


def test_a_walk_goes_page_by_page(world, monkeypatch):
    monkeypatch.setattr(history, "BATCH", 2)
    users = [f"user-{number}" for number in range(5)]
    world.put_users(*users)
    world.online(*users)
    world.shard.client.delete(world.shard.keys.transitions)
    runs = 0
    while world.writer().run(time.monotonic()):
        runs += 1
    assert runs > 2
    assert all(world.stored(user).online for user in users)


# Old sessions


def test_old_sessions_are_deleted(world):
    world.online("ann", "bob")
    world.offline("ann")
    world.drain()
    world.write()
    now = world.shard.now()
    assert not delete_sessions(world.engine, now - 60_000)
    assert len(world.sessions("ann")) == 1
    assert not delete_sessions(world.engine, now + 1)
    assert world.sessions("ann") == []
    assert len(world.sessions("bob")) == 1
    assert not delete_sessions(world.engine, None)
    assert world.sessions("bob") == []
    assert world.stored("bob").online, "last_seen stays"
