"""The main job, over the wire, with two gateways and friends on either."""

from __future__ import annotations

import signal
import time

import pytest

from tests.clients import Client
from tests.system import QUICK, wait_until

pytestmark = pytest.mark.e2e

TTL = float(QUICK["PRESENCE_ONLINE_TTL"])
GRACE = float(QUICK["PRESENCE_DISCONNECT_GRACE"])
SWEEP = float(QUICK["PRESENCE_SWEEP_INTERVAL"])
QUIET = GRACE + 0.7
"""Long enough for anything that would come to have come."""


def test_welcome_comes_first_and_then_the_snapshot_of_all_relevant_users(system):
    system.befriend("w-ada", "w-grace")
    system.admin("PUT", "/users/w-linus", {"display_name": "Linus"})
    system.admin(
        "PUT",
        "/conversations/w-talk",
        {"title": "Talk", "participants": ["w-ada", "w-linus"]},
    )
    with Client(system, "w-grace", web=1).opened(), Client(system, "w-ada") as ada:
        welcome, snapshot = ada.receive(), ada.receive()
        assert welcome["event"] == "welcome"
        assert welcome["data"]["user_id"] == "w-ada"
        assert welcome["data"]["heartbeat_interval"] == 2.0
        assert abs(welcome["data"]["timestamp"] / 1000 - time.time()) < 60
        assert ":" in welcome["data"]["connection_id"]
        assert snapshot["event"] == "presence_snapshot"
        statuses = snapshot["data"]["statuses"]
        assert statuses.keys() == {"w-grace", "w-linus"}
        assert statuses["w-grace"]["status"] == "online"
        assert statuses["w-grace"]["timestamp"] > 0
        assert statuses["w-linus"] == {
            "status": "offline",
            "timestamp": 0,
            "last_seen": None,
        }


def test_a_user_who_connects_is_online_in_redis_at_once(system):
    with Client(system, "r-ada") as ada:
        ada.expect("welcome")
        assert system.is_online("r-ada")
        status = system.redis.hgetall("user:r-ada:status")
        assert status["status"] == "online"
        assert int(status["last_seen"]) <= int(status["updated_at"])
        assert 1 <= system.redis.ttl("user:r-ada:status") <= TTL


def test_friends_and_partners_hear_it_once_on_any_gateway_and_nobody_else(system):
    system.befriend("f-ada", "f-friend-here", "f-friend-there")
    system.befriend("f-stranger", "f-friend-here")
    system.admin("PUT", "/users/f-partner", {"display_name": "Partner"})
    system.admin(
        "PUT",
        "/conversations/f-talk",
        {"title": "Talk", "participants": ["f-ada", "f-partner"]},
    )
    with (
        Client(system, "f-stranger", web=0).opened() as stranger,
        Client(system, "f-friend-here", web=0).opened() as here,
        Client(system, "f-friend-there", web=1).opened() as there,
        Client(system, "f-partner", web=1).opened() as partner,
    ):
        stranger.expect_change("f-friend-here", "online")
        with Client(system, "f-ada", web=0).opened() as ada:
            heard = [
                friend.expect_change("f-ada", "online")
                for friend in (here, there, partner)
            ]
            assert heard[0] == heard[1] == heard[2]
            assert heard[0].keys() == {"user_id", "status", "timestamp"}
            assert stranger.changes(0.3) == []
            assert ada.changes(0.1) == []
        offline = here.expect_change("f-ada", "offline")
        assert offline["timestamp"] > heard[0]["timestamp"]
        for friend in (there, partner):
            assert friend.changes(QUIET) == [("f-ada", "offline")]
        assert here.changes(0) == stranger.changes(0) == []


def test_only_the_last_of_three_sockets_takes_the_user_offline(system):
    system.befriend("t-ada", "t-grace")
    with Client(system, "t-grace").opened() as grace:
        sockets = [Client(system, "t-ada", web=n % 2).opened() for n in range(3)]
        grace.expect_change("t-ada", "online")
        sockets[0].close()
        sockets[1].close()
        assert grace.changes(QUIET) == []
        closed_at = time.time() * 1000
        sockets[2].close()
        grace.expect_change("t-ada", "offline")
        assert not system.is_online("t-ada")
        status = system.redis.hgetall("user:t-ada:status")
        assert status["status"] == "offline"
        assert abs(int(status["last_seen"]) - closed_at) < 5000
        assert 86000 < system.redis.ttl("user:t-ada:status") <= 86400
        assert not system.redis.exists("user:t-ada:connections")
        assert grace.changes(QUIET) == []


def test_nobody_hears_of_a_user_who_comes_back_within_the_grace(system):
    system.befriend("b-ada", "b-grace")
    with Client(system, "b-grace").opened() as grace:
        first = Client(system, "b-ada").opened()
        grace.expect_change("b-ada", "online")
        first.close()
        with Client(system, "b-ada", web=1).opened():
            assert grace.changes(QUIET) == []
            assert system.is_online("b-ada")


def test_leave_needs_no_grace(system):
    system.befriend("l-ada", "l-grace")
    with Client(system, "l-grace").opened() as grace:
        ada = Client(system, "l-ada").opened()
        grace.expect_change("l-ada", "online")
        ada.send("leave")
        grace.expect_change("l-ada", "offline", patience=GRACE)
        assert ada.expect_close() == 1000


def test_heartbeats_are_acknowledged_and_keep_a_user_online(system):
    with Client(system, "h-ada", beats=None).opened() as ada:
        started = time.monotonic()
        while time.monotonic() - started < TTL * 1.3:
            ada.send("heartbeat")
            assert ada.expect("heartbeat_ack")["timestamp"] > 0
            time.sleep(1)
        assert system.is_online("h-ada")
        assert system.redis.ttl("user:h-ada:status") > 0


def test_a_client_that_falls_silent_is_closed_and_offline_once(system):
    system.befriend("s-ada", "s-grace")
    with Client(system, "s-grace").opened() as grace:
        started = time.monotonic()
        ada = Client(system, "s-ada", beats=None).opened()
        grace.expect_change("s-ada", "online")
        grace.expect_change("s-ada", "offline", patience=TTL + SWEEP + 2)
        assert time.monotonic() - started >= TTL - 0.1
        assert ada.expect_close() == 4408
        assert grace.changes(QUIET) == []


def test_rest_fills_the_map(system):
    system.befriend("m-ada", "m-grace", "m-alan")
    system.admin("PUT", "/users/m-linus", {"display_name": "Linus"})
    talk = {"title": "Talk", "participants": ["m-ada", "m-linus"]}
    system.admin("PUT", "/conversations/m-talk", talk)

    def ask(path, user_id="m-ada", web=1):
        return system.request("GET", path, token=system.token(user_id), web=web)

    with Client(system, "m-grace").opened(), Client(system, "m-linus").opened():
        friends = {"data": {"statuses": {"m-alan": False, "m-grace": True}}}
        assert ask("/api/friends/online-status") == (200, friends)
        partners = {"data": {"statuses": {"m-linus": True}}}
        assert ask("/api/conversations/online-status") == (200, partners)
        both = {"data": {"statuses": {"m-ada": False, "m-linus": True}}}
        assert ask("/api/conversations/m-talk/online-status") == (200, both)
        assert ask("/api/conversations/m-talk/online-status", "m-grace")[0] == 403
        assert ask("/api/conversations/m-none/online-status")[0] == 404
        status, answer = ask("/api/users/m-grace/status")
        assert status == 200
        assert answer["data"]["user_id"] == "m-grace"
        assert answer["data"]["status"] == "online"
        assert answer["data"]["updated_at"] > 0
        assert ask("/api/users/m-linus/status", "m-grace")[0] == 403
        assert ask("/api/users/m-ada/status")[1]["data"]["last_seen"] is None
        assert ask("/api/users/a%20b/status")[0] == 400


def test_a_friend_made_while_both_are_online_is_seen_and_a_lost_one_is_silent(system):
    for user_id in ("g-ada", "g-grace"):
        system.admin("PUT", f"/users/{user_id}", {"display_name": user_id})
    with (
        Client(system, "g-ada").opened() as ada,
        Client(system, "g-grace", web=1).opened() as grace,
    ):
        system.admin("PUT", "/friendships/g-ada/g-grace", {"status": "accepted"})
        ada.expect_change("g-grace", "online")
        grace.expect_change("g-ada", "online")
        system.admin("DELETE", "/friendships/g-ada/g-grace")
        assert ada.expect("presence_snapshot") == {"statuses": {}}
        assert grace.expect("presence_snapshot") == {"statuses": {}}
        grace.send("leave")
        assert ada.changes(QUIET) == []


def test_a_new_participant_is_seen_at_once(system):
    system.befriend("p-ada", "p-grace")
    system.admin("PUT", "/users/p-linus", {"display_name": "Linus"})
    with (
        Client(system, "p-ada").opened() as ada,
        Client(system, "p-linus", web=1).opened() as linus,
    ):
        talk = {"title": "Talk", "participants": ["p-ada", "p-linus"]}
        system.admin("PUT", "/conversations/p-talk", talk)
        ada.expect_change("p-linus", "online")
        linus.expect_change("p-ada", "online")


def test_an_operator_disconnects_a_user_everywhere(system):
    system.befriend("d-ada", "d-grace")
    with Client(system, "d-grace").opened() as grace:
        sockets = [Client(system, "d-ada", web=n).opened() for n in range(2)]
        grace.expect_change("d-ada", "online")
        system.admin("POST", "/users/d-ada/disconnect")
        assert [socket.expect_close() for socket in sockets] == [4403, 4403]
        grace.expect_change("d-ada", "offline")


def gateway_of(client):
    """The id of the gateway that holds this client."""
    return client.seen[0]["data"]["connection_id"].rpartition(":")[0]


def gateways(system):
    """The ids of those that Redis knows."""
    return system.redis.zrange("gateways", 0, -1)


@pytest.mark.slow
def test_a_silent_process_is_noticed_though_its_socket_stays_open(own_system):
    """SIGSTOP of a whole gateway: its users are released by the sweep."""
    system = own_system
    system.befriend("ada", "grace")
    with Client(system, "grace", web=1).opened() as grace:
        Client(system, "ada", web=0).opened()
        grace.expect_change("ada", "online")
        system.processes["web0"].signal_group(signal.SIGSTOP)
        gateway_ttl = float(QUICK["PRESENCE_GATEWAY_TTL"])
        grace.expect_change("ada", "offline", patience=gateway_ttl + SWEEP + 5)
        # It comes back, finds itself forgotten, and registers its live sockets anew.
        system.processes["web0"].signal_group(signal.SIGCONT)
        wait_until(lambda: system.is_online("ada"), 10)
        grace.expect_change("ada", "online")
        assert grace.changes(QUIET) == []


def test_a_killed_gateway_leaves_no_ghost(system, own_web):
    system.befriend("k-ada", "k-grace")
    system.befriend("k-alan", "k-grace")
    with Client(system, "k-grace", web=1).opened() as grace:
        ada = Client(system, "k-ada", web=own_web, beats=None).opened()
        lost = Client(system, "k-alan", web=own_web, beats=None).opened()
        grace.expect("friend_status_changed")
        grace.expect("friend_status_changed")
        gateway = gateway_of(ada)
        assert gateway in gateways(system)
        system.processes[f"web{own_web}"].kill()
        with Client(system, "k-alan", web=1).opened():  # reconnects elsewhere
            del lost
            grace.expect_change("k-ada", "offline")
            assert not system.is_online("k-ada")
            assert system.is_online("k-alan")
            assert grace.changes(QUIET) == []
        wait_until(lambda: gateway not in gateways(system))


@pytest.mark.slow
def test_maps_are_right_when_the_worker_comes_back(own_system):
    system = own_system
    friends = [f"friend{n}" for n in range(50)]
    system.befriend("ada", *friends)
    with Client(system, "ada").opened() as ada:
        stay = [Client(system, friend).opened() for friend in friends[:25]]
        assert len(set(ada.changes(2))) == 25
        system.processes["worker"].stop()
        for client in stay:
            client.send("leave")
        come = [Client(system, friend, web=1).opened() for friend in friends[25:]]
        assert ada.changes(1) == []
        system.start_process("worker")
        expected = {(friend, "offline") for friend in friends[:25]}
        expected |= {(friend, "online") for friend in friends[25:]}
        heard = [
            (change["user_id"], change["status"])
            for change in (ada.expect("friend_status_changed", 20) for _ in expected)
        ]
        assert set(heard) == expected
        assert ada.changes(QUIET) == []
        for client in come:
            client.close()


@pytest.mark.slow
def test_beats_and_workers_by_mistake_change_nothing(own_system):
    system = own_system
    system.befriend("ada", "grace")
    for name in ("worker2", "worker3", "beat2"):
        system.start_process(name)
    with Client(system, "grace").opened() as grace:
        for _ in range(5):
            with Client(system, "ada", web=1).opened():
                grace.expect_change("ada", "online")
            grace.expect_change("ada", "offline")
        ada = Client(system, "ada", beats=None).opened()
        grace.expect_change("ada", "online")
        grace.expect_change("ada", "offline", patience=TTL + SWEEP + 5)
        assert ada.expect_close() == 4408
        assert grace.changes(3 * SWEEP) == []


def test_an_empty_redis_is_filled_again_by_the_gateways(own_system):
    system = own_system
    system.befriend("ada", "grace")
    with (
        Client(system, "ada").opened(),
        Client(system, "grace", web=1).opened() as grace,
    ):
        system.redis.flushall()
        wait_until(lambda: system.is_online("ada") and system.is_online("grace"), 10)
        snapshot = grace.expect("presence_snapshot")
        assert snapshot["statuses"]["ada"]["status"] == "online"


def test_a_planned_restart_says_when_to_come_back_and_keeps_users_online(
    system, own_web
):
    system.befriend("x-ada", "x-grace")
    with Client(system, "x-grace", web=1).opened() as grace:
        ada = Client(system, "x-ada", web=own_web).opened()
        grace.expect_change("x-ada", "online")
        process, gateway = system.processes[f"web{own_web}"], gateway_of(ada)
        assert gateway in gateways(system)
        process.ask_to_stop()
        assert 0 <= ada.expect("going_away")["reconnect_in"] <= 1
        assert ada.expect_close() == 1012
        with Client(system, "x-ada", web=1).opened():
            assert grace.changes(QUIET) == []
        assert process.stop() == 0
        wait_until(lambda: gateway not in gateways(system))
