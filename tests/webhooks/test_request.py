"""The HTTP request: addresses that are refused, time-outs, redirects, TLS."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tasks import webhook_request
from tasks.webhook_request import DeliveryFailed, is_public, post
from tests.webhooks.receiver import Receiver

pytestmark = pytest.mark.integration


def refused(url: str) -> str:
    with pytest.raises(DeliveryFailed) as caught:
        post(url, b"{}", {}, allow_private=False)
    return str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "127.0.0.1",
        "127.8.9.10",
        "0.0.0.0",  # noqa: S104 - the address is only looked at
        "100.64.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.1.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a00:1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fe80::1%eth0",
        "ff02::1",
    ],
)
def test_addresses_that_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "93.184.215.14",
        "2606:4700::1111",
        "::ffff:1.1.1.1",
        "64:ff9b::101:101",
    ],
)
def test_addresses_that_are_public(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"],
)
def test_nothing_is_sent_to_a_private_address(host):
    with Receiver() as receiver:
        why = refused(f"http://{host}:{receiver.port}/")
        assert receiver.requests == []
    assert "which is not public" in why


def resolving(*answers: str) -> Callable[..., list[object]]:
    """A name server that gives the next answer to each question for a name. Several
    addresses are separated by blanks."""
    left = list(answers)
    original = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *rest: int, **more: int) -> list[object]:
        if not host.endswith("example.com"):  # an address, which needs no question
            return original(host, port, *rest, **more)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in left.pop(0).split()
        ]

    return getaddrinfo


def test_one_private_address_among_public_ones_is_enough(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", resolving("1.1.1.1 10.0.0.7"))
    assert refused("http://example.com/") == (
        "example.com has the address 10.0.0.7, which is not public; "
        "PRESENCE_WEBHOOK_ALLOW_PRIVATE=1 allows it"
    )


def test_the_name_is_resolved_once_and_the_checked_address_is_used(monkeypatch):
    """A name that is public at first, and private a moment later."""
    asked: list[tuple[str, int]] = []

    def connect(address, *_, **__):
        asked.append(address)
        raise ConnectionRefusedError

    getaddrinfo = resolving("1.1.1.1", "127.0.0.1")
    monkeypatch.setattr(webhook_request.socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr("urllib3.util.connection.create_connection", connect)
    refused("http://example.com/")
    assert asked == [("1.1.1.1", 80)]
    assert getaddrinfo("example.com", 1)[0][4] == ("127.0.0.1", 1), (
        "nobody has asked again"
    )


def test_a_second_address_is_tried(monkeypatch):
    head = b"HTTP/1.1 204 No Content\r\n\r\n"
    monkeypatch.setattr(socket, "getaddrinfo", resolving("127.0.0.9 127.0.0.1"))
    with answering(head) as url:
        named = url.replace("127.0.0.1", "example.com")
        assert post(named, b"{}", {}, allow_private=True) == 204


@contextmanager
def answering(*parts: bytes, every: float = 0.0) -> Iterator[str]:
    """A server that sends these parts to each client, and then nothing more."""
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(client,), daemon=True).start()

    def talk(client: socket.socket) -> None:
        with client:
            try:
                for part in parts:
                    client.sendall(part)
                    if ended.wait(every):
                        return
                ended.wait(20)
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        ended.set()


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (b"HTTP/1.1 200 OK\r\n",),
        (b"HTTP/1.1 200 OK\r\n", *([b"x: y\r\n"] * 200)),  # each within a time-out
    ],
)
def test_the_time_is_that_of_the_whole_request(monkeypatch, parts):
    monkeypatch.setattr(webhook_request, "REQUEST_SECONDS", 0.4)
    with answering(*parts, every=0.1) as url:
        with pytest.raises(DeliveryFailed, match=r"no answer within 0\.4 s"):
            post(url, b"{}", {}, allow_private=True)
        deadline = time.monotonic() + 10
        # The thread of the request ends; those of the server do not yet.
        while any("run" in thread.name for thread in threading.enumerate()):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_body_without_end_is_not_read():
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n"
    with answering(head) as url:
        assert post(url, b"{}", {}, allow_private=True) == 200


def test_what_is_not_http_is_a_failure():
    with answering(b"SSH-2.0-OpenSSH\r\n\r\n") as url, pytest.raises(DeliveryFailed):
        post(url, b"{}", {}, allow_private=True)


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[int, ssl.SSLContext]]:
    """The port of a TLS server for hook.example.com, and a context that trusts it."""
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out cert -days 2"
    name = "-subj /CN=hook.example.com -addext subjectAltName=DNS:hook.example.com"
    subprocess.run(
        f"{command} {name}".split(), cwd=tmp_path, check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")

    class Accept(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            names.append(self.headers["host"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass

    names: list[str] = []
    with Server(("127.0.0.1", 0), Accept) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield (
            server.server_address[1],
            ssl.create_default_context(cafile=tmp_path / "cert"),
        )
        server.shutdown()
    assert set(names) <= {f"hook.example.com:{server.server_address[1]}"}


def test_tls_checks_the_name_though_the_address_is_fixed(tls, monkeypatch):
    port, trusting = tls
    answers = ["127.0.0.1"] * 3
    monkeypatch.setattr(socket, "getaddrinfo", resolving(*answers))
    with pytest.raises(DeliveryFailed, match="certificate"):
        post(f"https://hook.example.com:{port}/", b"{}", {}, allow_private=True)
    monkeypatch.setattr(webhook_request, "_tls", lambda: trusting)
    assert (
        post(f"https://hook.example.com:{port}/", b"{}", {}, allow_private=True) == 204
    )
    with pytest.raises(DeliveryFailed, match="certificate"):
        post(f"https://other.example.com:{port}/", b"{}", {}, allow_private=True)


def test_a_name_that_does_not_exist_is_a_failure():
    why = refused("http://no-such-name.invalid/")
    assert why
