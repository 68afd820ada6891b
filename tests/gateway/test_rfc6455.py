"""RFC 6455, over real sockets against our connection: a short form of what Autobahn's
suite (`make autobahn`) asks in its sections 1 to 7, 9 and 10.

It also has what that suite lacks: half-closed sockets, and clients that read or write
slowly.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.gateway.echo import PATH, serving

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
FINAL = 0x80
MASK = b"\x37\xfa\x21\x3d"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
GREEK = "κόσμε"

Frame = tuple[int, bytes]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving() as port:
        yield port


# Frames


def masked(first: int, payload: bytes = b"") -> bytes:
    """A client's frame; `first` is its first byte."""
    size = len(payload)
    if size <= 125:
        length = bytes([0x80 | size])
    elif size <= 0xFFFF:
        length = b"\xfe" + size.to_bytes(2)
    else:
        length = b"\xff" + size.to_bytes(8)
    mask = (MASK * (size // 4 + 1))[:size]
    body = int.from_bytes(payload) ^ int.from_bytes(mask)
    return bytes([first]) + length + MASK + body.to_bytes(size)


def text(message: str) -> bytes:
    return masked(FINAL | TEXT, message.encode())


def close(code: int | None = None, reason: bytes = b"") -> bytes:
    return masked(FINAL | CLOSE, b"" if code is None else code.to_bytes(2) + reason)


def fragments(opcode: int, *parts: bytes, between: bytes = b"") -> bytes:
    """A message in `parts`, with `between` behind each but the last."""
    last = len(parts) - 1
    frames = []
    for number, part in enumerate(parts):
        first = (0 if number else opcode) | (FINAL if number == last else 0)
        frames.append(masked(first, part))
    return between.join(frames)


# Sockets


def opened(
    port: int,
    behind: bytes = b"",
    *,
    step: int | None = None,
    receive_buffer: int | None = None,
) -> socket.socket:
    """A socket after the handshake; `behind` went out in one piece with it, or both in
    pieces of `step` bytes. `receive_buffer`: the bytes that the kernel takes for a
    client that does not read, doubled by Linux."""
    sock = socket.socket()
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(20)
    sock.connect(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = (
        f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {KEY}\r\n\r\n"
    )
    send_in_steps(sock, head.encode() + behind, step)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += sock.recv(1)
    assert answer.startswith(b"HTTP/1.1 101 ")
    return sock


def send_in_steps(sock: socket.socket, data: bytes, step: int | None) -> None:
    """Send `data`, `step` bytes at a time."""
    for start in range(0, len(data), step or len(data)):
        sock.sendall(data[start : start + (step or len(data))])


def read_to_end(sock: socket.socket) -> bytes:
    """All that comes until the server ends the socket. A reset is an error."""
    received = bytearray()
    while piece := sock.recv(65536):
        received += piece
    return bytes(received)


def frames_in(data: bytes) -> list[Frame]:
    """The server's frames: opcode and payload. Of a close that is not an echo, the code
    is what counts, so its reason is left out."""
    found = []
    while data:
        first, size = data[0], data[1]
        at = 2
        if size >= 126:
            at = 4 if size == 126 else 10
            size = int.from_bytes(data[2:at])
        assert first & 0xF0 == FINAL, "not a whole frame without an extension"
        found.append((first & 0x0F, data[at : at + size]))
        assert len(data) >= at + size, "cut off"
        data = data[at + size :]
    return found


def answers(port: int, data: bytes, *, step: int | None = None) -> list[Frame]:
    """All that the server says to `data`, sent `step` bytes at a time, to the end."""
    with opened(port) as sock:
        # If it has ended, what it said before can still be read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            send_in_steps(sock, data, step)
        return frames_in(read_to_end(sock))


def code_of(frames: list[Frame]) -> int:
    """The code with which the server closed, as its last word."""
    assert [opcode for opcode, _ in frames].index(CLOSE) == len(frames) - 1
    return int.from_bytes(frames[-1][1][:2])


GOODBYE = (CLOSE, (1000).to_bytes(2))


def assert_echoed(port: int, data: bytes, *expected: Frame) -> None:
    """`data` is answered by `expected`, in one piece and byte by byte."""
    for step in (None, 1) if len(data) < 500 else (None, 997):
        found = answers(port, data + close(1000), step=step)
        assert found == [*expected, GOODBYE]


def assert_closed(port: int, data: bytes, code: int, *before: Frame) -> None:
    """`data` is answered by `before`, and by a close with `code`, whatever follows."""
    for step in (None, 1) if len(data) < 500 else (None, 997):
        found = answers(port, data + text("more") + close(1000), step=step)
        assert found[:-1] == list(before)
        assert code_of(found) == code


# 1. Framing


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 65535, 65536, 200_000])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_messages_of_every_length_form(port, opcode, size):
    payload = (b"*" if opcode == TEXT else b"\xfe") * size
    assert_echoed(port, masked(FINAL | opcode, payload), (opcode, payload))


@pytest.mark.parametrize(
    "data",
    [
        b"\x81\xfe\x00\x05" + MASK + b"hello",
        b"\x81\xff" + (5).to_bytes(8) + MASK + b"hello",
        b"\x81\xff" + (65535).to_bytes(8) + MASK,
        b"\x81\xff" + (1 << 63).to_bytes(8) + MASK,
    ],
    ids=["2 for 5", "8 for 5", "8 for 65535", "sign bit"],
)
def test_a_length_has_its_shortest_form(port, data):
    assert_closed(port, data, 1002)


@pytest.mark.parametrize("data", [b"\x81\x05hello", b"\x89\x00", b"\x88\x02\x03\xe8"])
def test_a_frame_without_a_mask(port, data):
    assert_closed(port, data, 1002)


# 2. Pings and pongs


@pytest.mark.parametrize("payload", [b"", b"hello", b"\x00\xff\xfe", bytes(125)])
def test_a_ping_is_answered_with_its_payload(port, payload):
    assert_echoed(port, masked(FINAL | PING, payload), (PONG, payload))


def test_many_pings_are_answered_in_order(port):
    payloads = [b"ping %d" % number for number in range(10)]
    pings = b"".join(masked(FINAL | PING, payload) for payload in payloads)
    assert_echoed(port, pings, *((PONG, payload) for payload in payloads))


@pytest.mark.parametrize("payload", [b"", b"nobody asked"])
def test_a_pong_that_nobody_asked_for_is_passed_over(port, payload):
    pong = masked(FINAL | PONG, payload)
    assert_echoed(port, pong + masked(FINAL | PING, b"x") + pong, (PONG, b"x"))


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_a_control_frame_is_short(port, opcode):
    assert_closed(port, masked(FINAL | opcode, b"\x03\xe8" + bytes(124)), 1002)


# 3. Reserved bits


@pytest.mark.parametrize("bits", [0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70])
@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
def test_no_reserved_bit_is_ever_set(port, bits, opcode):
    data = text("before") + masked(FINAL | bits | opcode, b"\x03\xe8")
    assert_closed(port, data, 1002, (TEXT, b"before"))


# 4. Opcodes


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF])
@pytest.mark.parametrize("payload", [b"", b"x"])
def test_there_are_no_other_opcodes(port, opcode, payload):
    data = text("before") + masked(FINAL | opcode, payload)
    assert_closed(port, data, 1002, (TEXT, b"before"))


# 5. Fragments


@pytest.mark.parametrize("parts", [(b"a", b"b"), (b"a", b"b", b"c"), (b"", b"", b"")])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_in_fragments(port, opcode, parts):
    assert_echoed(port, fragments(opcode, *parts), (opcode, b"".join(parts)))


def test_control_frames_come_between_fragments(port):
    ping = masked(FINAL | PING, b"?")
    data = fragments(TEXT, b"a", b"b", b"c", between=ping + masked(FINAL | PONG))
    assert_echoed(port, data, (PONG, b"?"), (PONG, b"?"), (TEXT, b"abc"))


def test_a_close_between_fragments(port):
    assert answers(port, masked(TEXT, b"a") + close(1000)) == [GOODBYE]


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_a_control_frame_is_never_cut(port, opcode):
    assert_closed(port, masked(opcode, b"\x03\xe8") + masked(FINAL), 1002)


@pytest.mark.parametrize("first", [0, FINAL])
def test_a_fragment_of_no_message(port, first):
    assert_closed(port, masked(first, b"a"), 1002)
    data = fragments(TEXT, b"a", b"b") + masked(first, b"c")
    assert_closed(port, data, 1002, (TEXT, b"ab"))


@pytest.mark.parametrize("first", [TEXT, BINARY, FINAL | TEXT, FINAL | BINARY])
def test_a_message_within_another(port, first):
    assert_closed(port, masked(TEXT, b"a") + masked(first, b"b"), 1002)


# 6. UTF-8

GOOD = [
    *(GREEK, "\x00", "\x7f", "\x80", "\u07ff", "\u0800", "\uffff", "\U00010000"),
    *("\ud7ff", "\ue000", "\ufffd", "\ufeff", "\U0010ffff", "Hello-µ@ßöäüàá-UTF-8!!"),
]
BAD = [
    *(b"\x80", b"\xbf", b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\x80", b"\xf0\x80\x80\x80"),
    *(b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xed\xa0\x80\xed\xb0\x80"),
    *(b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"),
    *(b"\xfe", b"\xff", b"\xc3\x28", b"\xe2\x28\xa1", b"\xce\xba\xe1\xbd\xb9\xff"),
]


@pytest.mark.parametrize("message", GOOD, ids=ascii)
def test_text_that_is_utf_8(port, message):
    payload = message.encode()
    assert_echoed(port, masked(FINAL | TEXT, payload), (TEXT, payload))
    parts = [payload[at : at + 1] for at in range(len(payload))]
    assert_echoed(port, fragments(TEXT, *parts), (TEXT, payload))


@pytest.mark.parametrize("payload", BAD, ids=repr)
def test_text_that_is_not_utf_8(port, payload):
    assert_closed(port, masked(FINAL | TEXT, payload), 1007)
    whole = GREEK.encode() + payload + b"edited"
    parts = [whole[at : at + 1] for at in range(len(whole))]
    assert_closed(port, fragments(TEXT, *parts), 1007)


def test_text_that_ends_within_a_character(port):
    half = GREEK.encode()[:-1]
    assert_closed(port, masked(FINAL | TEXT, half), 1007)
    assert_closed(port, fragments(TEXT, half, b""), 1007)


@pytest.mark.parametrize(
    "begun",
    [
        masked(TEXT, GREEK.encode() + b"\xf4\x90"),
        masked(FINAL | TEXT, b"\xf4\x90" + b"x" * 1000)[:-990],
    ],
    ids=["of a message", "of a frame"],
)
def test_what_cannot_become_utf_8_is_not_waited_for(port, begun):
    with opened(port) as sock:
        sock.sendall(begun)
        received = read_to_end(sock)  # nothing more is sent, and it ends
    assert code_of(frames_in(received)) == 1007


def test_binary_may_be_anything(port):
    payload = b"".join(BAD)
    assert_echoed(port, masked(FINAL | BINARY, payload), (BINARY, payload))


# 7. The end


def test_an_empty_close_is_answered_by_one(port):
    assert answers(port, close()) == [(CLOSE, b"")]
    assert answers(port, close(), step=1) == [(CLOSE, b"")]


@pytest.mark.parametrize(
    "code",
    [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4400, 4999],
)
@pytest.mark.parametrize("reason", [b"", GREEK.encode(), b"*" * 123])
def test_a_legal_code_is_sent_back(port, code, reason):
    expected = [(CLOSE, code.to_bytes(2) + reason)]
    assert answers(port, close(code, reason)) == expected
    assert answers(port, text("a") + close(code, reason), step=1)[1:] == expected


@pytest.mark.parametrize(
    "code",
    [0, 1, 999, 1004, 1005, 1006, *range(1015, 1018), 1100, 2000, 2999, 5000, 65535],
)
def test_other_codes_are_errors(port, code):
    assert code_of(answers(port, close(code))) == 1002
    assert code_of(answers(port, close(code, b"because"))) == 1002


def test_half_a_code_is_an_error(port):
    assert code_of(answers(port, masked(FINAL | CLOSE, b"\x03"))) == 1002


@pytest.mark.parametrize("code", [1000, 1014, 4999])
@pytest.mark.parametrize("reason", [b"\xff", b"\xed\xa0\x80", GREEK.encode()[:-1]])
def test_a_reason_is_utf_8(port, code, reason):
    assert code_of(answers(port, close(code, reason))) == 1007


@pytest.mark.parametrize(
    "behind", [text("late"), masked(FINAL | PING), masked(0), close(1001), b"\xff" * 99]
)
def test_nothing_is_answered_after_a_close(port, behind):
    assert answers(port, close(1000) + behind) == [GOODBYE]


@pytest.mark.parametrize("size", [5000, 200_000])
def test_bytes_after_the_end_do_not_reset_the_socket(port, size):
    assert answers(port, close(1000) + bytes(size)) == [GOODBYE]
    assert code_of(answers(port, masked(FINAL | 3) + bytes(size))) == 1002


# 9. Large messages and many messages

LARGE = b"*" * 4 * 1024 * 1024


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", [512, 65536, len(LARGE)])
def test_a_large_message_in_fragments_of_any_size(port, opcode, size):
    parts = [LARGE[at : at + size] for at in range(0, len(LARGE), size)]
    data = fragments(opcode, *parts) + close(1000)
    assert answers(port, data) == [(opcode, LARGE), GOODBYE]


def test_a_large_message_in_small_pieces(port):
    data = masked(FINAL | BINARY, LARGE) + close(1000)
    assert answers(port, data, step=512) == [(BINARY, LARGE), GOODBYE]


@pytest.mark.parametrize("size", [0, 16, 1024])
def test_a_thousand_messages_one_after_another(port, size):
    message = "*" * size
    with opened(port) as sock:
        for _ in range(1000):
            sock.sendall(text(message))
            assert sock.recv(1) == b"\x81"
            left = size + (1 if size <= 125 else 3)
            while left:
                left -= len(sock.recv(left))


# 10. Many fragments, and what is not in the suite


def test_a_long_message_in_many_fragments(port):
    payload = b"*" * 65536
    parts = [payload[at : at + 1300] for at in range(0, len(payload), 1300)]
    assert_echoed(port, fragments(TEXT, *parts), (TEXT, payload))


def test_what_comes_right_behind_the_handshake_is_not_lost(port):
    for behind in (text("early") + close(1000), text("early") + close(1000)[:3]):
        with opened(port, behind) as sock:
            sock.sendall((text("early") + close(1000))[len(behind) :])
            assert frames_in(read_to_end(sock)) == [(TEXT, b"early"), GOODBYE]


def test_what_fails_after_the_handshake_writes_no_http(port):
    found = answers(port, text("before") + text("fail"))
    assert found == [(TEXT, b"before"), (CLOSE, b"\x03\xf3internal error")]


def test_a_handshake_that_comes_byte_by_byte(port):
    data = text("early") + close(1000)
    with opened(port, data, step=1) as sock:
        assert frames_in(read_to_end(sock)) == [(TEXT, b"early"), GOODBYE]


# Half-closed sockets and slow readers

BACKLOG = b"*" * 8_000_000
"""An answer that the kernel does not take at once for a client that does not read."""
WRONG_OPCODE = masked(FINAL | 3)


@pytest.mark.parametrize(
    ("last", "code"),
    [(b"", None), (close(1000), 1000), (WRONG_OPCODE, 1002)],
    ids=["no close", "close", "error"],
)
@pytest.mark.parametrize("message", [b"", b"a", BACKLOG], ids=["no", "short", "long"])
def test_a_client_that_has_shut_down_its_half_gets_all_answers(
    port, message, last, code
):
    with opened(port, receive_buffer=4096) as sock:
        sock.sendall((masked(FINAL | BINARY, message) if message else b"") + last)
        sock.shutdown(socket.SHUT_WR)
        frames = frames_in(read_to_end(sock))
    if code is not None:
        assert code_of(frames) == code
        frames.pop()
    assert frames == ([(BINARY, message)] if message else [])


def test_a_handshake_and_the_end_in_one_segment(port):
    with opened(port, text("early")) as sock:
        sock.shutdown(socket.SHUT_WR)
        assert frames_in(read_to_end(sock)) == [(TEXT, b"early")]


def test_a_client_that_reads_byte_by_byte_gets_everything_and_delays_nobody(port):
    with opened(port, receive_buffer=4096) as slow, opened(port) as quick:
        slow.sendall(masked(FINAL | BINARY, BACKLOG))
        received = b""
        for _ in range(100):
            received += slow.recv(1)
            quick.sendall(text("?"))
            assert quick.recv(3, socket.MSG_WAITALL) == b"\x81\x01?"
        slow.sendall(close(1000))
        assert frames_in(received + read_to_end(slow)) == [(BINARY, BACKLOG), GOODBYE]
