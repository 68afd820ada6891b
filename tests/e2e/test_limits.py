"""The limits of calls and handshakes, on gateways that have some."""

from __future__ import annotations

from contextlib import closing
from http.client import HTTPConnection
from uuid import uuid4

import pytest
from websockets.exceptions import InvalidStatus

from models.events import CloseCode
from tests.clients import Client
from tests.figures import scrape
from tests.system import System

pytestmark = pytest.mark.e2e

LIMITS = {
    "PRESENCE_LIMIT_REST": "4/3600",
    "PRESENCE_LIMIT_TICKETS": "2/3600",
    "PRESENCE_LIMIT_HANDSHAKES_USER": "2/3600",
    "PRESENCE_LIMIT_HANDSHAKES_ADDRESS": "5/3600",
    "PRESENCE_TRUSTED_PROXIES": "1",
}


@pytest.fixture(scope="module")
def limited(system: System):
    with system.another_web(**LIMITS) as number:
        yield number


@pytest.fixture
def ann() -> str:
    return f"ann-{uuid4().hex[:8]}"


def from_address(address: str) -> dict[str, str]:
    return {"X-Forwarded-For": f"9.9.9.9, {address}"}


def test_tickets_and_calls_of_a_user_have_limits(system, limited, ann):
    token, port = system.token(ann), system.web_ports[limited]

    def call(method: str, path: str) -> tuple[int, str | None]:
        with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as http:
            http.request(method, path, headers={"Authorization": f"Bearer {token}"})
            answer = http.getresponse()
            is_refused = b'"too_many_requests"' in answer.read()
            assert is_refused == (answer.status == 429)
            return answer.status, answer.headers["Retry-After"]

    ticket = ("POST", "/api/ws-ticket")
    assert [call(*ticket)[0] for _ in range(3)] == [200, 200, 429]
    friends = ("GET", "/api/friends/online-status")
    assert call(*friends)[0] == 200
    status, retry_after = call(*friends)
    assert status == 429
    assert 0 < int(retry_after) <= 3600 / 4
    # Others are not concerned.
    path = "/api/friends/online-status"
    other = system.token(f"other-{ann}")
    assert system.request("GET", path, token=other, web=limited)[0] == 200


def test_handshakes_of_a_user_end_with_4429(system, limited, ann):
    headers = from_address("192.0.2.1")
    for _ in range(2):
        Client(system, ann, web=limited, headers=headers).opened().close()
    client = Client(system, ann, web=limited, headers=headers, beats=None)
    assert client.expect_close() == CloseCode.TOO_MANY


def test_handshakes_of_an_address_get_http_429(system, limited, ann):
    headers = from_address("192.0.2.2")
    users = [f"{ann}-{number}" for number in range(6)]
    for user in users[:5]:
        Client(system, user, web=limited, headers=headers).opened().close()
    with pytest.raises(InvalidStatus) as refused:
        Client(system, users[5], web=limited, headers=headers)
    response = refused.value.response
    assert response.status_code == 429
    assert 0 < int(response.headers["Retry-After"]) <= 3600 / 5
    # Another address, and the same one where a client has only claimed it.
    other = {"X-Forwarded-For": "192.0.2.2, 192.0.2.3"}
    Client(system, users[5], web=limited, headers=other).opened().close()


@pytest.mark.slow
def test_without_redis_calls_are_let_pass_and_counted(own_system_of, ann):
    system = own_system_of(**LIMITS)
    token = system.token(ann)
    path = "/api/me/presence"
    assert system.request("GET", path, token=token)[0] == 200
    system.server.kill()
    for _ in range(6):  # more than the limit: 503 comes from the call itself
        status, _ = system.request("GET", path, token=token, timeout=60)
        assert status in {200, 503}
    figures = scrape(system)
    assert figures["greendot_limits_skipped_total"] >= 6
    assert figures["greendot_limit_calls_total:rest:skipped"] >= 6
    assert figures["greendot_limit_calls_total:rest:allowed"] == 1
