"""The proxies of deploy/, for real: in front of two gateways, with TLS."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing
from http.client import HTTPConnection, HTTPSConnection
from typing import Self

import pytest
from websockets.sync.client import ClientConnection, connect

from config import Settings
from greendot_client.presence import Presence
from tests.clients import Client
from tests.deploy.proxies import FILES, Proxy
from tests.system import JWT_SECRET, SERVICE_KEY, System, wait_until

ALIVE = 180
"""Seconds that a socket has to live on heartbeats alone. All time-outs of the proxies
are shorter."""
SILENT = 90
"""Seconds that a socket has to live with no bytes at all. It is more than the default
time-out of nginx."""
CLIENTS = 12
names = (f"behind-proxy-{number}" for number in itertools.count())


@pytest.mark.parametrize("name", FILES)
def test_the_program_accepts_the_file(name, tmp_path):
    checked = Proxy(name, tmp_path, [8000, 8001]).check()
    assert checked.returncode == 0, checked.stdout


@pytest.fixture(scope="module")
def gateways():
    defaults = Settings.from_env({"SECRET_KEY": JWT_SECRET})
    # The times of production, and not the short ones of the tests.
    system = System(
        PRESENCE_ONLINE_TTL=str(defaults.online_ttl),
        PRESENCE_HEARTBEAT_INTERVAL=str(defaults.heartbeat_interval),
        PRESENCE_DISCONNECT_GRACE=str(defaults.disconnect_grace),
        PRESENCE_GATEWAY_TTL=str(defaults.gateway_ttl),
        PRESENCE_DRAIN_WINDOW="4",
        PRESENCE_TRUSTED_PROXIES="1",
        PRESENCE_LIMIT_HANDSHAKES_ADDRESS="1000/600000",
    )
    try:
        system.start()
        yield system
    finally:
        system.close()


@pytest.fixture(scope="module", params=FILES)
def proxy(request, gateways, tmp_path_factory):
    running = Proxy(request.param, tmp_path_factory.mktemp("proxy"), gateways.web_ports)
    running.start()
    try:
        wait_until(lambda: _answers(running), 20)
        yield running
    finally:
        running.stop()


def _answers(proxy: Proxy) -> bool:
    try:
        return _call(proxy, "GET", "/readyz")[0] == 200
    except OSError:
        return False


def _call(
    proxy: Proxy, method: str, path: str, token: str = "", *, inside: bool = False
) -> tuple[int, bytes]:
    http = (
        HTTPConnection("127.0.0.1", proxy.inside_port, timeout=10)
        if inside
        else HTTPSConnection("localhost", proxy.port, timeout=10, context=proxy.tls())
    )
    with closing(http):
        http.request(method, path, headers={"Authorization": f"Bearer {token}"})
        answer = http.getresponse()
        return answer.status, answer.read()


def _socket(
    system: System, proxy: Proxy, user_id: str, address: str = "127.0.0.1", **headers
) -> ClientConnection:
    headers["Authorization"] = f"Bearer {system.token(user_id)}"
    return connect(
        f"wss://localhost:{proxy.port}/ws",
        ssl=proxy.tls(),
        additional_headers={name.replace("_", "-"): headers[name] for name in headers},
        compression=None,
        ping_interval=None,
        source_address=(address, 0),
    )


@pytest.mark.slow
@pytest.mark.e2e
def test_rest_passes(gateways, proxy):
    token = gateways.token(next(names))
    status, body = _call(proxy, "GET", "/api/friends/online-status", token)
    assert (status, json.loads(body)["data"]["statuses"]) == (200, {})
    assert _call(proxy, "POST", "/api/ws-ticket", token)[0] == 200
    assert _call(proxy, "GET", "/api/friends/online-status")[0] == 401


@pytest.mark.slow
@pytest.mark.e2e
def test_http_leads_to_https(proxy):
    if proxy.name == "caddy":
        pytest.skip("Caddy does this by itself, and the test turns that off")
    with closing(HTTPConnection("127.0.0.1", proxy.http_port, timeout=10)) as http:
        http.request("GET", "/ws?x=1", headers={"Host": "presence.example.com"})
        answer = http.getresponse()
        assert answer.status == 301
        assert answer.headers["Location"] == "https://presence.example.com/ws?x=1"


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.parametrize(
    "path",
    [
        "/metrics",
        "/%6detrics",
        "/api/admin/users",
        "/api/admin/stats",
        "//api/admin/stats",
        "/api//admin/stats",
        "/api/%61dmin/stats",
        "/%61pi%2fadmin%2fstats",
        "/api/friends/../admin/stats",
        "/api/friends/%2e%2e/admin/stats",
        "/./api/admin/stats",
        # These leave /api/admin if a proxy resolves the dots.
        "/api/admin/friendships/../..",
        "/api/admin/friendships/%2e%2e/%2E%2e",
        "/api/admin/friendships/..%2f..",
    ],
)
def test_what_is_closed_stays_closed(proxy, path):
    status, body = _call(proxy, "GET", path, SERVICE_KEY)
    # A redirect leads to the plain form of the path, which is closed.
    assert status in {308, 400, 404}
    # Greendot's own 404 is JSON. So it shows that the call came through.
    assert not body.startswith(b"{"), body


@pytest.mark.slow
@pytest.mark.e2e
def test_the_host_has_a_door_of_its_own(proxy):
    status, body = _call(proxy, "GET", "/api/admin/stats", SERVICE_KEY, inside=True)
    assert status == 200, body


@pytest.mark.slow
@pytest.mark.e2e
def test_greendot_sees_the_address_of_the_client(gateways, proxy):
    address, forged = f"127.0.0.{list(FILES).index(proxy.name) + 2}", "198.51.100.7"
    key = "presence:limit:addresses:"
    with _socket(
        gateways, proxy, next(names), address, X_Forwarded_For=forged
    ) as socket:
        assert json.loads(socket.recv(10))["event"] == "welcome"
    assert gateways.redis.exists(key + address)
    assert not gateways.redis.exists(key + forged)


@pytest.mark.slow
@pytest.mark.e2e
def test_a_planned_restart_is_not_noticed(gateways, proxy, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(proxy._certificate[0]))
    url = f"https://localhost:{proxy.port}"
    watcher, users = next(names), [next(names) for _ in range(CLIENTS)]
    gateways.befriend(watcher, *users)
    with ExitStack() as stack:
        clients = [
            stack.enter_context(Presence(url, gateways.token(user))) for user in users
        ]
        wait_until(lambda: all(map(gateways.is_online, users)))
        assert _sockets(gateways, 0)
        assert _sockets(gateways, 1)
        # The watcher is on the gateway that stays.
        watching = stack.enter_context(Client(gateways, watcher, web=1)).opened()
        answers = stack.enter_context(_Calls(proxy, gateways.token(watcher)))
        gateways.processes["web0"].stop()
        gateways.start_web(0)
        gateways.wait_ready(0)
        assert watching.changes(gateways_grace(gateways)) == []
        assert all(map(gateways.is_online, users))
        assert not any(client._presence.stale for client in clients)
        # The proxy uses the gateway again.
        wait_until(
            lambda: (
                stack.enter_context(_socket(gateways, proxy, next(names)))
                and _sockets(gateways, 0)
            ),
            30,
            every=0.5,
        )
    # A gateway that closes may reset a call that it has not read yet. A proxy must not
    # send a POST again, because it cannot know this.
    seen = set(answers.statuses) - {("POST", 502)}
    assert seen == {("GET", 200), ("POST", 200)}, answers.statuses


def gateways_grace(system: System) -> float:
    """Seconds after which a lost client is announced, with a reserve."""
    return float(system.environ["PRESENCE_DISCONNECT_GRACE"]) + 3


def _sockets(system: System, web: int) -> int:
    (line,) = (
        line
        for line in system.metrics(web).splitlines()
        if line.startswith("greendot_connections ")
    )
    return int(float(line.split()[1]))


class _Calls:
    """Makes REST calls through the proxy until it ends, and counts the answers."""

    def __init__(self, proxy: Proxy, token: str) -> None:
        self.statuses: Counter[tuple[str, int]] = Counter()
        self._proxy, self._token = proxy, token
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        calls = {"GET": "/api/friends/online-status", "POST": "/api/ws-ticket"}
        while not self._ended.wait(0.02):
            for method, path in calls.items():
                status, _ = _call(self._proxy, method, path, self._token)
                self.statuses[method, status] += 1


@pytest.fixture
def all_proxies(tmp_path):
    """Starts all proxies at once, because what they are needed for takes minutes."""
    with ExitStack() as stack:

        def start(ports: Sequence[int]) -> list[Proxy]:
            proxies = [Proxy(name, tmp_path, ports) for name in FILES]
            for proxy in proxies:
                proxy.start()
                stack.callback(proxy.stop)
            for proxy in proxies:
                wait_until(lambda proxy=proxy: _answers(proxy), 20)
            return proxies

        yield start


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(ALIVE + 120)
def test_a_socket_lives_on_heartbeats_alone(gateways, all_proxies):
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(_socket(gateways, proxy, next(names)))
            for proxy in all_proxies(gateways.web_ports)
        ]
        intervals = set(map(_interval, sockets))
        assert intervals == {20}
        ends_at = time.monotonic() + ALIVE
        while time.monotonic() < ends_at:
            time.sleep(max(intervals))
            for socket in sockets:
                _beat(socket)


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(SILENT + 120)
def test_a_silent_socket_outlives_the_ttl(gateways, all_proxies):
    ttl = float(gateways.environ["PRESENCE_ONLINE_TTL"])
    assert ttl < SILENT
    # A gateway that does not end a silent socket before the proxy does.
    patient = {
        "PRESENCE_ONLINE_TTL": str(SILENT * 4),
        "PRESENCE_HEARTBEAT_INTERVAL": str(SILENT * 2),
    }
    with gateways.another_web(**patient) as number, ExitStack() as stack:
        port = gateways.web_ports[number]
        sockets = [
            stack.enter_context(_socket(gateways, proxy, next(names)))
            for proxy in all_proxies([port, port])
        ]
        assert set(map(_interval, sockets)) == {SILENT * 2}
        time.sleep(SILENT)
        for socket in sockets:
            _beat(socket)


def _interval(socket: ClientConnection) -> float:
    """Reads the first frames, and gives the interval of the heartbeats."""
    welcome = json.loads(socket.recv(10))
    assert welcome["event"] == "welcome"
    assert json.loads(socket.recv(10))["event"] == "presence_snapshot"
    return welcome["data"]["heartbeat_interval"]


def _beat(socket: ClientConnection) -> None:
    socket.send('{"event": "heartbeat"}')
    assert json.loads(socket.recv(10))["event"] == "heartbeat_ack"
