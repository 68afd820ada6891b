"""The opening handshake, answered by us and by wsproto: it has to be the same."""

from __future__ import annotations

import base64
import socket

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from werkzeug.exceptions import MethodNotAllowed
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, RejectConnection, Request
from wsproto.utilities import RemoteProtocolError

from app.server.answer_socket import AnswerSocket, TakenSocket, detached
from app.websocket.handshake import BadHandshake, Handshake, WrongVersion

calm = settings(deadline=None, max_examples=300)
"""A busy machine is no failure."""

GOOD = {
    "Host": "chat.example.com",
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def environ_of(method: str, headers: dict[str, str]) -> dict[str, object]:
    """The request as the web server hands it over."""
    names = {f"HTTP_{name.upper().replace('-', '_')}": name for name in headers}
    return {
        "REQUEST_METHOD": method,
        "SERVER_PROTOCOL": "HTTP/1.1",
        **{variable: headers[name] for variable, name in names.items()},
    }


def answer_of_ours(method: str, headers: dict[str, str]) -> tuple[int, bytes]:
    """The status of our answer, and the answer itself where it is 101."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        environ = environ_of(method, headers)
        environ["gunicorn.socket"] = AnswerSocket(
            ours, lambda: TakenSocket(detached(ours))
        )
        try:
            Handshake(environ).accept().sock.close()
        except WrongVersion:
            return 426, b""
        except (BadHandshake, MethodNotAllowed):
            return 400, b""
        return 101, theirs.recv(4096)


def answer_of_wsproto(method: str, headers: dict[str, str]) -> tuple[int, bytes]:
    """The same of wsproto's server."""
    lines = [f"{method} /ws HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
    server = WSConnection(ConnectionType.SERVER)
    try:
        server.receive_data("\r\n".join([*lines, "", ""]).encode("latin-1"))
    except RemoteProtocolError as error:
        hint = error.event_hint
        is_426 = isinstance(hint, RejectConnection) and hint.status_code == 426
        return (426 if is_426 else 400), b""
    return 101, server.send(AcceptConnection())


def lines_of(answer: bytes) -> set[bytes]:
    """The lines of an answer. Neither their order nor their case means anything, but
    for the key's."""
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert rest == b""
    status, *fields = head.split(b"\r\n")
    pairs = (field.split(b": ") for field in fields)
    found = {b": ".join((name.lower(), value)) for name, value in pairs}
    lowered = {line if b"accept" in line else line.lower() for line in found}
    return {b" ".join(status.split()[:2]), *lowered}


tokens = st.sampled_from(
    ["websocket", "WebSocket", "upgrade", "Upgrade", "keep-alive", "h2c", "close", "13"]
)
lists = st.lists(tokens, max_size=3).map(", ".join)
keys = st.binary(min_size=16, max_size=16).map(
    lambda key: base64.b64encode(key).decode()
)
changes = st.fixed_dictionaries(
    {},
    optional={
        "Host": st.sampled_from(["localhost:8000", "[::1]", None]),
        "Upgrade": st.one_of(tokens, st.none()),
        "Connection": st.one_of(lists, st.none()),
        "Sec-WebSocket-Version": st.sampled_from(["8", "13", "14", None]),
        "Sec-WebSocket-Key": st.one_of(keys, st.none()),
        "Sec-WebSocket-Protocol": lists,
        "Sec-WebSocket-Extensions": st.just("permessage-deflate"),
        "Origin": st.just("https://chat.example.com"),
    },
)


@calm
@given(st.sampled_from(["GET", "GET", "GET", "POST", "HEAD"]), changes)
@example("GET", {})
@example("GET", {"Connection": "upgrade", "Upgrade": "WebSocket"})
def test_any_headers(method, changes):
    headers = {k: v for k, v in (GOOD | changes).items() if v is not None}
    status, answer = answer_of_ours(method, headers)
    expected, expected_answer = answer_of_wsproto(method, headers)
    assert (status == 101) == (expected == 101)
    if status == 101:
        assert lines_of(answer) == lines_of(expected_answer)


@calm
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30))
@example("dGhlIHNhbXBsZSBub25jZQ==")
def test_a_key_that_is_none_is_refused_though_wsproto_takes_it(key):
    try:
        is_key = len(base64.b64decode(key, validate=True)) == 16 and len(key) == 24
    except ValueError:
        is_key = False
    status, _ = answer_of_ours("GET", GOOD | {"Sec-WebSocket-Key": key})
    assert status == (101 if is_key else 400)


def test_a_client_of_wsproto_takes_our_answer():
    client = WSConnection(ConnectionType.CLIENT)
    request = client.send(Request(host="localhost", target="/ws")).decode()
    _, *lines = request.split("\r\n\r\n")[0].split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    status, answer = answer_of_ours("GET", headers)
    assert status == 101
    client.receive_data(answer)
    assert list(client.events()) == [AcceptConnection()]


@pytest.mark.parametrize("name", sorted(GOOD))
def test_every_header_of_the_handshake_is_needed(name):
    headers = {key: value for key, value in GOOD.items() if key != name}
    assert answer_of_ours("GET", headers)[0] == 400
    assert answer_of_wsproto("GET", headers)[0] == 400


@pytest.mark.parametrize("version", ["0", "8", "14"])
def test_another_version_is_426(version):
    headers = GOOD | {"Sec-WebSocket-Version": version}
    assert answer_of_ours("GET", headers) == (426, b"")
    assert answer_of_wsproto("GET", headers) == (426, b"")
