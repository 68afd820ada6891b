"""One HTTP request to a webhook receiver. The only code that uses urllib3.

A request must not reach into the private network. So the name is resolved once, every
address is checked, and the connection goes to a checked address: a name that resolves
to another address a moment later changes nothing. Redirects are not followed. Proxies
of the environment are not used.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import closing, suppress
from functools import cache
from http.client import HTTPException
from urllib.parse import SplitResult, urlsplit

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

REQUEST_SECONDS = 15.0
"""Seconds for a whole request: resolve the name, connect, send, and get the head of the
answer."""
_EMBEDS_IPV4 = [ipaddress.ip_network(text) for text in ("64:ff9b::/96", "::/96")]
_IPV4_BITS = 0xFFFF_FFFF


class DeliveryFailed(Exception):
    """The receiver did not answer. The message says why."""


def post(
    url: str, body: bytes, headers: Mapping[str, str], *, allow_private: bool
) -> int:
    """Send `body` to `url`, and return the status of the answer. Its body is not read.

    Raises:
        DeliveryFailed: no answer, or the address is private.
    """
    request = _Request(url, body, headers, allow_private=allow_private)
    # A time-out of the socket would start anew with each byte of a slow answer, and
    # would not end a slow lookup of the name.
    thread = threading.Thread(target=request.run, daemon=True)
    thread.start()
    thread.join(REQUEST_SECONDS)
    if thread.is_alive():
        request.abort()
        raise _too_late()
    return request.result()


def is_public(text: str) -> bool:
    """Whether the address `text` is reachable from everywhere. If it is an IPv6 address
    that contains an IPv4 address, that one must be public too."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address.teredo:
            inner = address.teredo[1]
        if any(address in network for network in _EMBEDS_IPV4):
            inner = ipaddress.IPv4Address(int(address) & _IPV4_BITS)
        if inner is not None and not is_public(str(inner)):
            return False
        if address.ipv4_mapped is not None:
            return True
    return address.is_global and not address.is_multicast


class _Request:
    """A request that runs in a thread of its own and can be aborted."""

    def __init__(
        self, url: str, body: bytes, headers: Mapping[str, str], *, allow_private: bool
    ) -> None:
        self._url = urlsplit(url)
        self._body = body
        self._headers = {
            "host": self._url.netloc,
            "connection": "close",
            "user-agent": "Greendot",
            **headers,
        }
        self._allow_private = allow_private
        self._is_aborted = False
        self._connection: HTTPConnection | None = None
        self._outcome: int | Exception = DeliveryFailed("no answer")

    def run(self) -> None:
        """Send the request, and keep the outcome for `result`."""
        try:
            self._outcome = self._status()
        except Exception as error:  # noqa: BLE001 - `result` raises it
            self._outcome = error

    def result(self) -> int:
        """The status of the answer, when `run` has ended."""
        if isinstance(self._outcome, int):
            return self._outcome
        if isinstance(self._outcome, TimeoutError):
            raise _too_late() from self._outcome
        if isinstance(self._outcome, HTTPError | HTTPException | OSError | ValueError):
            reason = str(self._outcome) or type(self._outcome).__name__
            raise DeliveryFailed(reason) from self._outcome
        raise self._outcome

    def abort(self) -> None:
        """Have `run` end soon."""
        self._is_aborted = True
        sock = self._connection and self._connection.sock
        if sock:
            with suppress(OSError):  # it has just ended
                sock.shutdown(socket.SHUT_RDWR)

    def _status(self) -> int:
        path = self._url.path or "/"
        if self._url.query:
            path += f"?{self._url.query}"
        with closing(self._connected()) as connection:
            connection.request(
                "POST",
                path,
                body=self._body,
                headers=self._headers,
                preload_content=False,
            )
            return int(connection.getresponse().status)

    def _connected(self) -> HTTPConnection:
        """A connection to the first address that accepts one."""
        addresses = self._addresses()
        for address in addresses:
            self._connection = connection = _connection(self._url, address)
            try:
                connection.connect()
            except (HTTPError, OSError):
                connection.close()
                if address == addresses[-1] or self._is_aborted:
                    raise
            else:
                return connection
        message = "the name has no address"
        raise DeliveryFailed(message)

    def _addresses(self) -> list[str]:
        host = self._url.hostname or ""
        found = socket.getaddrinfo(host, _port(self._url), type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        for address in addresses:
            if not self._allow_private and not is_public(address):
                message = (
                    f"{host} has the address {address}, which is not public; "
                    "PRESENCE_WEBHOOK_ALLOW_PRIVATE=1 allows it"
                )
                raise DeliveryFailed(message)
        return addresses


def _too_late() -> DeliveryFailed:
    """The time-out of the thread and that of the socket end at about the same time, so
    either may come first."""
    return DeliveryFailed(f"no answer within {REQUEST_SECONDS:g} s")


def _port(url: SplitResult) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _connection(url: SplitResult, address: str) -> HTTPConnection:
    if url.scheme == "http":
        return HTTPConnection(address, _port(url), timeout=REQUEST_SECONDS)
    return HTTPSConnection(
        address,
        _port(url),
        timeout=REQUEST_SECONDS,
        server_hostname=url.hostname,
        ssl_context=_tls(),
    )


@cache
def _tls() -> ssl.SSLContext:
    """The certificates that the system trusts."""
    return ssl.create_default_context()
