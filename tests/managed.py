"""A managed Redis: a primary and a replica behind one address, which fails over."""

from __future__ import annotations

import contextlib
import socket
import threading

import redis

from tests.servers import RedisServer, any_server_command
from tests.system import wait_until

READ_BYTES = 65536


class Address:
    """A loopback port that leads to another one. Where it leads can be changed: that
    concerns new connections, those that are open stay as they are."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._links: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            self._links |= {client, server}
            for ends in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(READ_BYTES):
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        source.close()
        self._links.discard(source)

    def ends_at(self, port: int) -> set[str]:
        """Our ends of the connections that lead to `port`, as HOST:PORT."""
        ends = set()
        for one in list(self._links):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                if one.getpeername()[1] == port:
                    ends.add("{}:{}".format(*one.getsockname()))
        return ends

    def close(self) -> None:
        """End it, and all connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for one in (self._listener, *list(self._links)):
            one.close()


class Managed:
    """Both servers, for the presence state and for Celery. A `Store` of a `System`."""

    def __init__(self, binary: str | None = None) -> None:
        self.servers = [RedisServer(binary or any_server_command()) for _ in range(2)]
        self._address = Address(self.servers[0].port)
        self.url = self.broker_url = f"redis://127.0.0.1:{self._address.port}/0"

    @property
    def broker(self) -> RedisServer:
        """The first primary."""
        return self.servers[0]

    @property
    def primary(self) -> RedisServer:
        """The server to which the address leads."""
        return next(one for one in self.servers if one.port == self._address.target)

    @property
    def replica(self) -> RedisServer:
        """The other one."""
        return next(one for one in self.servers if one is not self.primary)

    def start(self) -> None:
        """Start both, and wait until the replica has all that the primary has."""
        for server in self.servers:
            server.start()
        self._follow(self.replica, self.primary)

    def fail_over(self) -> None:
        """Both change their roles. Nothing is cut."""
        old, new = self.primary, self.replica
        with new.client() as client:
            client.replicaof("NO", "ONE")
        self._address.target = new.port
        self._follow(old, new)

    def last_commands(self, server: RedisServer) -> set[str]:
        """What those were last told who are connected to `server` by the address."""
        with server.client() as client:
            ends = self._address.ends_at(server.port)
            return {c["cmd"] for c in client.client_list() if c["addr"] in ends}

    def _follow(self, replica: RedisServer, primary: RedisServer) -> None:
        with replica.client() as client:
            client.replicaof("127.0.0.1", primary.port)
            wait_until(lambda: _is_whole(client), 30)

    def close(self) -> None:
        """End everything."""
        self._address.close()
        for server in self.servers:
            server.close()


def _is_whole(client: redis.Redis) -> bool:
    try:
        return bool(client.info("replication")["master_link_status"] == "up")
    except redis.RedisError:  # it loads what it was sent
        return False
