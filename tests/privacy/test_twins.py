"""A hidden user looks exactly like one who is offline: every frame and every answer is
compared with those about a user who really is offline."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import count, pairwise

import pytest

from tests.privacy.twins import Twins
from tests.privacy.watcher import patch
from tests.system import System, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

_numbers = count(10)

HIDES = [
    ("friend", "nobody"),
    ("friend", "never"),
    ("partner", "nobody"),
    ("partner", "friends"),
    ("partner", "never"),
    ("both", "nobody"),
    ("both", "never"),
]


@contextmanager
def twins_in(system, relation="friend"):
    with Twins(system, f"t{next(_numbers)}") as twins:
        for side in twins.sides:
            if relation in {"friend", "both"}:
                side.befriend()
            if relation in {"partner", "both"}:
                side.talk_together()
        twins.watch()
        yield twins


def nothing(side):
    """On neither side."""


def only_hidden(change):
    """A change that only the hidden side makes."""
    return lambda side: change(side) if side.makes_invisible else None


@pytest.mark.parametrize(("relation", "how"), HIDES)
def test_hiding_looks_like_leaving(steady, relation, how):
    with twins_in(steady, relation) as twins:
        twins.do("connect", lambda side: side.connect())
        twins.do("away", lambda side: side.go_away(how))
        assert steady.is_online(twins.hidden.subject)
        twins.do("behind", lambda side: side.come_and_go_behind())
        twins.do("back", lambda side: side.come_back())
        twins.do("leave", lambda side: side.leave())
        twins.do("connect again", lambda side: side.connect())
        assert len(twins.real.told_at) == 5


def test_hiding_while_offline(steady):
    with twins_in(steady) as twins:
        twins.do("connect", lambda side: side.connect())
        twins.do("leave", lambda side: side.leave())
        twins.do("hide", only_hidden(lambda side: side.hide()))
        twins.do("behind", lambda side: side.come_and_go_behind())
        twins.do("back", lambda side: side.come_back())


@pytest.mark.parametrize(("relation", "how"), HIDES)
def test_coming_online_already_hidden(steady, relation, how):
    with twins_in(steady, relation) as twins:
        twins.do("hide", only_hidden(lambda side: side.hide(how)))
        twins.do("connect", only_hidden(lambda side: side.connect()))
        twins.do("behind", lambda side: side.come_and_go_behind())
        assert twins.hidden.status()["updated_at"] is None
        twins.do("back", lambda side: side.come_back())


@pytest.mark.parametrize(("relation", "how"), HIDES)
def test_visible_again_while_offline_tells_nothing(steady, relation, how):
    with twins_in(steady, relation) as twins:
        twins.do("connect", lambda side: side.connect())
        twins.do("away", lambda side: side.go_away(how))
        twins.do("behind", lambda side: side.come_and_go_behind())
        twins.do("leave behind", only_hidden(lambda side: side.leave()))
        twins.do("show", only_hidden(lambda side: side.show()))
        twins.do("hide again", only_hidden(lambda side: side.hide(how)))
        twins.do("behind again", lambda side: side.come_and_go_behind())
        twins.do("leave again", only_hidden(lambda side: side.leave()))
        twins.do("show again", only_hidden(lambda side: side.show()))
        twins.do("connect", lambda side: side.connect())
        twins.do("leave", lambda side: side.leave())


def test_one_exception_after_the_other(steady):
    """`never` takes over from `nobody`, and `always` ends both."""
    with twins_in(steady) as twins:
        twins.do("connect", lambda side: side.connect())
        twins.do("away", lambda side: side.go_away())
        twins.do("never", only_hidden(lambda side: side.hide("never")))
        everyone = {"visibility": "everyone"}
        twins.do("everyone", only_hidden(lambda side: side.patch(everyone)))
        twins.do("behind", lambda side: side.come_and_go_behind())
        twins.do("nobody", only_hidden(lambda side: side.hide("nobody")))

        def admit(side):
            if side.makes_invisible:
                side.patch({"exceptions": {"always": [side.viewer]}})
            else:
                side.connect()

        twins.do("always", admit)


def test_a_partner_who_becomes_a_friend_sees_who_shows_friends_only(steady):
    with twins_in(steady, "partner") as twins:
        twins.do("friends only", only_hidden(lambda side: side.hide("friends")))
        twins.do("connect", only_hidden(lambda side: side.connect()))

        def befriend(side):
            side.befriend()
            if not side.makes_invisible:
                side.connect()

        def unfriend(side):
            side.unfriend()
            if not side.makes_invisible:
                side.leave()

        for _ in range(2):
            twins.do("befriend", befriend)
            twins.do("unfriend", unfriend)
            twins.do("behind", lambda side: side.come_and_go_behind())
        twins.do("leave behind", only_hidden(lambda side: side.leave()))
        twins.do("befriend offline", lambda side: side.befriend())
        twins.do("unfriend offline", lambda side: side.unfriend())
        assert len(twins.real.told_at) == 4


@pytest.mark.parametrize("how", ["nobody", "never"])
@pytest.mark.parametrize("relation", ["friend", "both"])
def test_block_and_unblock(steady, relation, how):
    with twins_in(steady, relation) as twins:
        twins.do("connect", lambda side: side.connect())
        twins.do("away", lambda side: side.go_away(how))
        twins.do("block", lambda side: side.befriend("blocked"))
        twins.do("behind", lambda side: side.come_and_go_behind())
        twins.do("unblock", lambda side: side.befriend())
        twins.do("behind again", lambda side: side.come_and_go_behind())
        twins.do("unfriend", lambda side: side.unfriend())
        twins.do("befriend", lambda side: side.befriend())
        twins.do("back", lambda side: side.come_back())


@pytest.mark.parametrize("how", ["nobody", "never"])
def test_hiding_while_blocked(steady, how):
    with twins_in(steady) as twins:
        twins.do("connect", lambda side: side.connect())
        twins.do("block", lambda side: side.befriend("blocked"))
        twins.do("away", lambda side: side.go_away(how))
        twins.do("behind", lambda side: side.come_and_go_behind())
        twins.do("unblock", lambda side: side.befriend())
        twins.do("back", lambda side: side.come_back())


@pytest.mark.parametrize("how", ["nobody", "never"])
def test_a_new_friend_of_a_hidden_user(steady, how):
    with twins_in(steady, "none") as twins:
        twins.do("connect", lambda side: side.connect())
        twins.do("away", lambda side: side.go_away(how))
        twins.do("behind", lambda side: side.come_and_go_behind())
        twins.do("befriend", lambda side: side.befriend())
        twins.do("talk", lambda side: side.talk_together())
        twins.do("unfriend", lambda side: side.unfriend())
        twins.do("back", lambda side: side.come_back())


@pytest.mark.parametrize("how", ["nobody", "never"])
def test_hidden_history_stays_hidden_from_who_was_not_related_meanwhile(steady, how):
    with twins_in(steady) as twins:
        twins.do("connect", lambda side: side.connect())
        twins.do("away", lambda side: side.go_away(how))
        twins.do("unfriend", lambda side: side.unfriend())
        twins.do("behind", lambda side: side.come_and_go_behind())
        twins.do("leave behind", only_hidden(lambda side: side.leave()))
        twins.do("show", only_hidden(lambda side: side.show()))
        twins.do("befriend", lambda side: side.befriend())
        twins.do("connect", lambda side: side.connect())
        twins.do("leave", lambda side: side.leave())


@pytest.mark.parametrize("how", ["nobody", "never"])
def test_shown_to_strangers_while_still_online(steady, how):
    """Visible again while the viewer is not related; then related again."""
    with twins_in(steady) as twins:
        twins.do("connect", lambda side: side.connect())
        twins.do("away", lambda side: side.go_away(how))
        twins.do("unfriend", lambda side: side.unfriend())
        twins.do("behind", lambda side: side.come_and_go_behind())
        twins.do("back", lambda side: side.come_back())
        twins.do("befriend", lambda side: side.befriend())
        twins.do("leave", lambda side: side.leave())


def test_a_friend_who_is_only_a_partner_later(steady):
    """The moment of hiding is that of the lost friendship, not that of the setting."""
    with twins_in(steady) as twins:
        twins.do("friends only", only_hidden(lambda side: side.hide("friends")))
        twins.do("connect", lambda side: side.connect())

        def unfriend(side):
            side.unfriend()
            if not side.makes_invisible:
                side.leave()

        def befriend(side):
            if not side.makes_invisible:
                side.connect()
            side.befriend()

        twins.do("unfriend", unfriend)
        twins.do("talk", lambda side: side.talk_together())
        twins.do("behind", lambda side: side.come_and_go_behind())
        twins.do("befriend", befriend)
        twins.do("leave", lambda side: side.leave())


def test_visible_again_the_last_heartbeat_tells_nothing(steady):
    """While a hidden user is online, `last_seen` stands at an old heartbeat. A user who
    really comes online was seen at that moment."""
    with twins_in(steady) as twins:
        twins.do("connect", lambda side: side.connect())
        twins.do("away", lambda side: side.go_away())
        twins.do("back", lambda side: side.come_back())


def snapshots(watcher):
    """How many snapshots have come."""
    watcher.pump()
    return sum(frame.event == "presence_snapshot" for frame in watcher.frames)


def patch_last_seen(side, user, choice):
    """Change the setting, and wait for the viewer's snapshot that follows."""
    before = snapshots(side.watcher)
    patch(side.system, user, {"last_seen": choice})
    wait_until(lambda: snapshots(side.watcher) > before, 30)


@pytest.mark.parametrize("whose", ["subject", "viewer", "both"])
@pytest.mark.parametrize("choice", ["nobody", "friends"])
def test_no_time_tells_a_hidden_last_seen(steady, whose, choice):
    relation = "friend" if choice == "nobody" else "partner"
    with twins_in(steady, relation) as twins:
        for side in twins.sides:
            for user in (side.subject, side.viewer):
                if whose == "both" or user.endswith(whose):
                    patch_last_seen(side, user, choice)
        twins.do("connect", lambda side: side.connect())
        twins.do("away", lambda side: side.go_away())
        twins.do("behind", lambda side: side.come_and_go_behind())
        for side in twins.sides:
            seen, again = side.snapshot(), side.snapshot()
            assert seen["last_seen"] is None
            assert again["timestamp"] >= seen["timestamp"] > max(side.told_at)
            answer = side.status()
            assert (answer["last_seen"], answer["updated_at"]) == (None, None)
            assert (answer.get("last_seen_hidden_by") == "you") == (whose == "viewer")
        twins.do("back", lambda side: side.come_back())
        twins.do("leave", lambda side: side.leave())


def test_last_seen_hidden_and_shown_again(steady):
    """Hiding freezes `last_seen`; the setting of that name hides it for a while."""
    with twins_in(steady) as twins:
        twins.do("connect", lambda side: side.connect())
        twins.do("away", lambda side: side.go_away())
        for choice in ("nobody", "everyone"):
            twins.do(
                choice, lambda side, to=choice: patch_last_seen(side, side.subject, to)
            )
            twins.do("behind", lambda side: side.come_and_go_behind())
        twins.do("back", lambda side: side.come_back())


def test_quick_changes_end_in_the_right_status(steady):
    """Two calls one after the other, and two at the same time."""
    with twins_in(steady) as twins:
        twins.do("connect", lambda side: side.connect())
        side = twins.hidden
        for turn in range(10):
            fields = [{"visibility": "nobody"}, {"visibility": "everyone"}]
            if turn % 2:
                fields.reverse()
            for one in fields:
                side.patch(one)
        side.show()
        side.watcher.wait_for(side.subject, "online")
        twins.sentinel.pass_by(side.watcher)
        side.watcher.pump()
        told = [
            frame.data
            for frame in side.watcher.frames
            if frame.event == "friend_status_changed"
            and frame.data["user_id"] == side.subject
        ]
        statuses = [one["status"] for one in told]
        assert all(a != b for a, b in pairwise(statuses))
        times = [one["timestamp"] for one in told]
        assert times == sorted(set(times))
        assert side.snapshot()["timestamp"] == times[-1]


def test_redis_loses_everything(steady):
    with twins_in(steady) as twins:
        twins.do("connect", lambda side: side.connect())
        twins.do("away", lambda side: side.go_away())
        snapshots = [of_event(side, "presence_snapshot") for side in twins.sides]
        seen = twins.real.status()["last_seen"]
        wait_until(lambda: all_stored(steady), 30)

        steady.redis.flushall()
        subject = twins.hidden.subject
        wait_until(lambda: steady.is_online(subject), 30)
        for side, before in zip(twins.sides, snapshots, strict=True):
            wait_until(
                lambda side=side, before=before: (
                    of_event(side, "presence_snapshot") > before
                ),
                30,
            )
        twins.do("flushed", nothing)
        assert twins.real.status()["last_seen"] == seen, "the database has it"
        twins.do("behind", lambda side: side.come_and_go_behind())
        twins.do("back", lambda side: side.come_back())
        twins.do("away again", lambda side: side.go_away())
        twins.do("leave", only_hidden(lambda side: side.leave()))
        twins.do("show", only_hidden(lambda side: side.show()))


def all_stored(system):
    """Whether the database has every `last_seen`."""
    queues = ("presence:transitions", "presence:unstored")
    return not any(map(system.redis.xlen, queues))


def of_event(side, event):
    """How many of these the viewer has got."""
    side.watcher.pump()
    return sum(frame.event == event for frame in side.watcher.frames)


@pytest.mark.slow
@pytest.mark.parametrize("web", [0, 1])
def test_a_gateway_restarts(steady, web):
    """The gateway of the viewers, and that of the hidden user."""
    with twins_in(steady) as twins:
        twins.do("connect", lambda side: side.connect())
        twins.do("away", lambda side: side.go_away())
        steady.processes[f"web{web}"].ask_to_stop()
        for side in twins.sides:
            if web == 0:
                wait_until(lambda side=side: closed(side.watcher), 30)
                side.watch(1)
            else:
                for device in side.devices:
                    wait_until(lambda device=device: closed(device), 30)
                side.devices.clear()
                if side.makes_invisible:
                    side.connect(0)
        steady.processes[f"web{web}"].stop()
        steady.start_web(web)
        steady.wait_ready(web)
        twins.do("restarted", nothing)
        twins.do("behind", lambda side: side.come_and_go_behind())
        twins.do("back", lambda side: side.come_back())


def closed(watcher):
    watcher.pump()
    return not watcher.is_open


@pytest.fixture
def forgetful():
    """A Greendot that soon forgets users who are offline."""
    system = System(
        PRESENCE_ONLINE_TTL="60",
        PRESENCE_HEARTBEAT_INTERVAL="20",
        PRESENCE_OFFLINE_TTL="2",
        PRESENCE_MAX_FRAMES_PER_SECOND="1000",
    )
    try:
        system.start()
        yield system
    finally:
        system.close()


@pytest.mark.slow
def test_a_status_expires(forgetful):
    """PRESENCE_OFFLINE_TTL counts for the frozen status too. `last_seen` stays, because
    the database has it."""
    with twins_in(forgetful) as twins:
        twins.do("connect", lambda side: side.connect())
        for side in twins.sides:
            side.go_away()
        seen = {side: side.status()["last_seen"] for side in twins.sides}
        twins.hidden.come_and_go_behind()
        for side in twins.sides:
            wait_until(lambda side=side: side.status()["updated_at"] is None, 30)
        wait_until(lambda: all_stored(forgetful), 30)
        for side in twins.sides:
            side.pump()
            side.record.clear()
            assert side.snapshot() == {
                "status": "offline",
                "timestamp": 0,
                "last_seen": seen[side],
            }
        twins.do("behind", lambda side: side.come_and_go_behind())
        twins.hidden.leave()
        twins.do("show", only_hidden(lambda side: side.show()))
