"""A fault of our own ends one socket, with a close frame and a log line."""

from __future__ import annotations

import gevent

from models.events import CloseCode
from tests.gateway.client import Client

BEAT = b"\x81\x95\x00\x00\x00\x00" + b'{"event":"heartbeat"}'


def test_a_fault_closes_the_socket_with_1011(gateway, monkeypatch, caplog):
    def fail(_connection: object) -> None:
        message = "a fault"
        raise RuntimeError(message)

    client = Client(gateway, "ann")
    monkeypatch.setattr(gateway.sessions[0], "heartbeat", fail)
    gateway.serve(client.connection)
    client._socket.sendall(BEAT)
    data = client._socket.recv(4096)
    assert data[:1] == b"\x88"
    assert int.from_bytes(data[2:4]) == CloseCode.INTERNAL_ERROR
    client.leave()
    while client.connection._watcher is not None:
        gevent.sleep(0.01)
    assert len(gateway.hub) == 0
    assert gateway.counts.closes["1011"] == 1
    assert f"connection {client.connection.connection_id} failed" in caplog.text
    assert "a fault" in caplog.text
