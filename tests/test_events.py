"""The wire schema: what each event looks like, every bad frame, and the close codes."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import events
from models.batches import batches
from models.events import (
    RETRY,
    BadFrame,
    ClientEvent,
    CloseCode,
    Delivery,
    GatewayMessage,
    ServerEvent,
    Transition,
    UserStatus,
)
from models.identifiers import joined_ids

user_ids = st.text("abcXYZ019_.:@|+-", min_size=1, max_size=128)
timestamps = st.integers(0, events.MAX_TIMESTAMP - 1)
statuses = st.sampled_from(["online", "offline"])
transitions = st.builds(Transition, user_ids, statuses, timestamps)
deliveries = st.lists(
    st.builds(Delivery, transitions, st.lists(user_ids, max_size=3).map(joined_ids)),
    max_size=3,
).map(tuple)
names = st.lists(user_ids, max_size=3).map(tuple)

calm = settings(deadline=None, max_examples=50)
"""A busy machine is no failure."""


# What the server sends


def sent(payload: bytes) -> tuple[str, dict]:
    frame = json.loads(payload.decode("utf-8"))
    assert set(frame) == {"event", "data"}
    return frame["event"], frame["data"]


def test_welcome():
    assert sent(events.welcome("ann", "w:1", 20.0, 1700000000000)) == (
        "welcome",
        {
            "user_id": "ann",
            "connection_id": "w:1",
            "heartbeat_interval": 20.0,
            "timestamp": 1700000000000,
        },
    )


def test_presence_snapshot():
    payload = events.presence_snapshot(
        [
            UserStatus("ann", online=True, updated_at=5, last_seen=7),
            UserStatus("bob", online=False, updated_at=0, last_seen=None),
        ]
    )
    assert sent(payload) == (
        "presence_snapshot",
        {
            "statuses": {
                "ann": {"status": "online", "timestamp": 5, "last_seen": 7},
                "bob": {"status": "offline", "timestamp": 0, "last_seen": None},
            }
        },
    )
    assert sent(events.presence_snapshot([])) == ("presence_snapshot", {"statuses": {}})


@calm
@given(st.lists(transitions, unique_by=lambda one: one.user_id), st.integers(1, 5))
def test_parts_of_a_snapshot_are_joined(transitions, size):
    statuses = [
        UserStatus(one.user_id, one.status == "online", one.timestamp, last_seen=None)
        for one in transitions
    ]
    parts = [events.presence_snapshot(part) for part in batches(statuses, size)]
    assert events.joined_snapshots(parts) == events.presence_snapshot(statuses)
    details = [(status, None) for status in statuses]
    parts = [
        events.presence_snapshot_with_details(part) for part in batches(details, size)
    ]
    assert events.joined_snapshots(parts) == (
        events.presence_snapshot_with_details(details)
    )


@calm
@given(transitions)
def test_friend_status_changed(transition):
    assert sent(events.friend_status_changed(transition)) == (
        "friend_status_changed",
        {
            "user_id": transition.user_id,
            "status": transition.status,
            "timestamp": transition.timestamp,
        },
    )


def test_the_rest():
    assert sent(events.heartbeat_ack(3)) == ("heartbeat_ack", {"timestamp": 3})
    assert sent(events.going_away(1.5)) == ("going_away", {"reconnect_in": 1.5})
    assert sent(events.error("bad_frame", "é \U0001f7e2")) == (
        "error",
        {"code": "bad_frame", "message": "é \U0001f7e2"},
    )


def test_names_are_the_contract():
    assert set(ServerEvent) == {
        "welcome",
        "presence_snapshot",
        "friend_status_changed",
        "heartbeat_ack",
        "error",
        "going_away",
        "presence_settings_changed",
        "friend_detail_changed",
        "token_expiring",
        "token_refreshed",
    }
    assert set(ClientEvent) == {"heartbeat", "leave", "activity", "refresh"}


def test_a_status_as_the_event_that_says_the_same():
    status = UserStatus("ann", online=True, updated_at=5, last_seen=7)
    assert status.as_transition() == Transition("ann", "online", 5)
    assert UserStatus("ann", online=False, updated_at=0, last_seen=None).status == (
        "offline"
    )


# What a client sends


@pytest.mark.parametrize("name", ["heartbeat", "leave", "activity"])
@pytest.mark.parametrize(
    "template",
    [
        '{"event": "%s", "data": {}}',
        '{"event":"%s"}',
        '{"data": {"more": [1]}, "event": "%s", "extra": null}',
        ' \n{"event": "%s", "data": {}} ',
    ],
)
def test_client_events(name, template):
    event, data = events.decode_client_event(template % name)
    assert event is ClientEvent(name)
    assert data == orjson.loads(template % name).get("data", {})


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ("", "bad_frame"),
        (" ", "bad_frame"),
        ("heartbeat", "bad_frame"),
        ("{", "bad_frame"),
        ('{"event": "heartbeat"', "bad_frame"),
        ('{"event": "heartbeat"} {}', "bad_frame"),
        ("{'event': 'heartbeat'}", "bad_frame"),
        ('{"event": "heartbeat", "data": NaN}', "bad_frame"),
        ("null", "bad_frame"),
        ("1", "bad_frame"),
        ('"heartbeat"', "bad_frame"),
        ("[]", "bad_frame"),
        ('["heartbeat", {}]', "bad_frame"),
        ("{}", "bad_frame"),
        ('{"data": {}}', "bad_frame"),
        ('{"Event": "heartbeat"}', "bad_frame"),
        ('{"event": null}', "bad_frame"),
        ('{"event": 1}', "bad_frame"),
        ('{"event": ["heartbeat"]}', "bad_frame"),
        ('{"event": {"heartbeat": 1}}', "bad_frame"),
        ('{"event": "heartbeat", "data": null}', "bad_frame"),
        ('{"event": "heartbeat", "data": []}', "bad_frame"),
        ('{"event": "heartbeat", "data": "x"}', "bad_frame"),
        ('{"event": "heartbeat", "data": 0}', "bad_frame"),
        ('{"event": "\ud800"}', "bad_frame"),
        ("[" * 3000, "bad_frame"),
        ('{"event": ""}', "unknown_event"),
        ('{"event": "Heartbeat"}', "unknown_event"),
        ('{"event": "heartbeat "}', "unknown_event"),
        ('{"event": "HEARTBEAT"}', "unknown_event"),
        ('{"event": "welcome"}', "unknown_event"),
        ('{"event": "friend_status_changed", "data": {}}', "unknown_event"),
    ],
)
def test_bad_frames(payload, code):
    with pytest.raises(BadFrame) as caught:
        events.decode_client_event(payload)
    assert caught.value.code == code
    assert str(caught.value)


odd = st.sampled_from([None, True, 0, "", "heartbeat", "leave", "x", [], {}, {"a": 1}])


@calm
@given(
    st.text(max_size=50)
    | odd.map(json.dumps)
    | st.dictionaries(st.sampled_from(["event", "data", "x"]), odd).map(json.dumps)
)
def test_any_frame_is_an_event_or_a_bad_frame(payload):
    try:
        (name, _), code = events.decode_client_event(payload), None
    except BadFrame as error:
        name, code = None, error.code
    if code is None:
        frame = json.loads(payload)
        assert frame["event"] == name
        assert isinstance(frame.get("data", {}), dict)
    else:
        assert code in {"bad_frame", "unknown_event"}


# Between the processes


@calm
@given(st.builds(GatewayMessage, deliveries, deliveries, names, names))
def test_gateway_messages_survive_the_stream(message):
    encoded = message.encode()
    assert GatewayMessage.decode(encoded) == message
    assert GatewayMessage.decode(encoded.decode()) == message


def test_an_empty_gateway_message():
    assert GatewayMessage.decode(GatewayMessage().encode()) == GatewayMessage()


@pytest.mark.parametrize("encoded", ["", "{", "[]", "[[],[],[]]", "[[1],[],[],[]]"])
def test_what_is_no_gateway_message(encoded):
    with pytest.raises((ValueError, TypeError)):
        GatewayMessage.decode(encoded)


# Close codes


def test_close_codes_are_the_contract():
    assert {int(code) for code in CloseCode} == {
        1000, 1002, 1007, 1009, 1011, 1012, 1013, 4400, 4401, 4403, 4408, 4429,
    }  # fmt: skip


def test_after_which_codes_a_client_comes_back():
    assert {int(code) for code in RETRY} == {1011, 1012, 1013, 4408, 4429}


# Tokens


def test_the_times_of_tokens_are_numbers_that_clients_can_read():
    expiring = json.loads(events.token_expiring(1_700_000_000.25))
    assert expiring["data"] == {"expires_at": 1_700_000_000_250}
    for far in (1e300, 2**60, 1e16):
        refreshed = json.loads(events.token_refreshed(far))
        assert refreshed["data"] == {"expires_at": events.MAX_TIMESTAMP}
    assert json.loads(events.token_refreshed(None))["data"] == {"expires_at": None}


def test_an_older_gateway_closes_all_sockets_of_a_revoked_user():
    message = GatewayMessage(
        disconnects=("bob",),
        own=(("bob", "{}"),),
        revocations=(("ann", 1_700_000_000),),
    )
    assert message.version == 4
    assert message.for_reader(4) == message
    name, value = message.as_entry()
    assert GatewayMessage.from_entry([name.encode(), value]) == message
    older = message.for_reader(3)
    assert older == GatewayMessage(disconnects=("bob", "ann"), own=(("bob", "{}"),))
    assert older.version < 4
    only = GatewayMessage(revocations=(("ann", 1),))
    assert only.for_reader(1) == GatewayMessage(disconnects=("ann",))
