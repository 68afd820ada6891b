"""A user comes or goes while a change of that user's visibility is under way: before it
is stored, or after it was stored and before the viewers are told."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import redis

from models.fanout import fan_out
from models.identifiers import ids_in
from models.shown_statuses import Rules, ShownStatuses
from models.sql.db import session_factory
from models.sql.graph import delete_friendship, put_conversation
from models.visibility import Visible
from models.visibility_updater import Viewers, VisibilityUpdater
from tests.databases import friends_in
from tests.presence.shard import GATEWAY, Shard

pytestmark = pytest.mark.integration

CHANGES = {"hide": Visible.NOBODY, "show": Visible.EVERYONE}

START = "start_visibility_change"
PUBLISH = "publish_visibility_change"


class Scene:
    """Ann's friend Bob is connected all the time. `heard` is what he was told of her:
    the newest timestamp wins."""

    def __init__(self, shard, engine):
        self.shard = shard
        self.engine = engine
        self.heard = ("offline", 0)
        self.events = []
        self.drained = self.read = "0-0"
        self.changes = VisibilityUpdater(
            shard.presence, session_factory(engine), lambda _: None
        )
        shard.heartbeat("bob")
        shard.connect("bob")
        self.drain()

    def move(self, what):
        if what == "connect":
            self.shard.connect("ann")
        else:
            self.shard.release("ann")
            self.shard.expire("ann")

    def set_to(self, visibility):
        self.changes.change_settings(
            "ann", lambda old: replace(old, visibility=visibility)
        )

    def drain(self):
        """Broadcast what is in the outbox, and let Bob hear it."""
        entries = self.shard.outbox.take("token", [], 100, 0) or []
        changes = [entry.content for entry in entries]
        with self.engine.connect() as reader:
            fan_out(self.shard.presence, reader, changes)
        self.shard.outbox.release_lease("token", entries)
        streams = self.shard.presence.gateway_streams
        for entry_id, message in streams.read(GATEWAY, self.read, 1).messages:
            self.read = entry_id
            for delivery in message.transitions:
                one = delivery.transition
                if one.user_id == "ann" and "bob" in ids_in(delivery.recipients):
                    self.events.append((one.status, one.timestamp))
                    if one.timestamp > self.heard[1]:
                        self.heard = (one.status, one.timestamp)

    def shown(self):
        with self.engine.connect() as reader:
            rules = Rules.read(reader, ["bob"], may_hide=True)
        statuses = self.shard.presence.read_statuses(["ann"])
        found = ShownStatuses(rules, statuses).shown("bob", "ann")
        return found.status, found.updated_at

    def meanwhile(self, monkeypatch, when, moves, *, drains):
        """Make `moves` at that moment of the next change."""
        target = self.changes._presence
        call = getattr(target, when)
        made = []

        def hooked(*args):
            if when == PUBLISH and not made:
                made.extend(self._moved(moves, drains=drains))
            result = call(*args)
            if when == START and not made:
                made.extend(self._moved(moves, drains=drains))
            return result

        monkeypatch.setattr(target, when, hooked)

    def _moved(self, moves, *, drains):
        for move in moves:
            self.move(move)
            if drains:
                self.drain()
        return moves


@pytest.fixture
def scene(valkey_url, tmp_path):
    client = redis.Redis.from_url(valkey_url, decode_responses=True)
    with friends_in(tmp_path, ("ann", "bob")) as engine:
        yield Scene(Shard.open(client), engine)


@pytest.mark.parametrize("is_online", [True, False])
@pytest.mark.parametrize("change", ["hide", "show"])
@pytest.mark.parametrize(
    "moment", list(product((START, PUBLISH), (True, False), (1, 2)))
)
def test_the_viewer_ends_with_the_shown_status(
    scene, monkeypatch, is_online, change, moment
):
    when, drains, count = moment
    scene.move("connect")
    if change == "show":
        scene.set_to(Visible.NOBODY)
    if not is_online:
        scene.move("leave")
    scene.drain()
    assert scene.heard == scene.shown()
    moves = ["leave", "connect"] if is_online else ["connect", "leave"]
    scene.meanwhile(monkeypatch, when, moves[:count], drains=drains)
    scene.set_to(CHANGES[change])
    scene.drain()
    assert scene.heard == scene.shown()


def test_a_user_leaves_while_a_friendship_ends(scene):
    """Ann shows friends only, and shares a conversation with Bob."""
    scene.set_to(Visible.FRIENDS)
    with session_factory(scene.engine)() as session:
        put_conversation(session, "talk", "", ["ann", "bob"])
        session.commit()
        scene.move("connect")
        scene.drain()
        change = delete_friendship(session, "ann", "bob")
        viewers = Viewers(list(change.before), list(change.after))
        tell = scene.changes.store_graph_change(session, "ann", viewers)
        session.commit()
    scene.move("leave")
    scene.drain()
    # What Bob is shown is stored together with the change.
    assert scene.shown()[1] > 0
    tell()
    scene.drain()
    assert scene.heard == scene.shown()
