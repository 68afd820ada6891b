"""Tokens on running gateways: refreshed on the wire, verified with published keys."""

from __future__ import annotations

import time
from uuid import uuid4

import jwt
import pytest
from websockets.exceptions import ConnectionClosed

from config import Settings
from models.events import CloseCode
from models.sql.db import make_engine, session_factory
from models.sql.revocations import revoke
from tests.clients import Client
from tests.databases import empty_postgresql
from tests.system import JWT_SECRET, SERVICE_KEY, System, wait_until
from tests.tokens import EDDSA, ES256, PUBLIC, RS256, public_jwk, running_provider
from tests.tokens import signed as signed_by

pytestmark = pytest.mark.e2e

FRIENDS = "/api/friends/online-status"


@pytest.fixture
def ann() -> str:
    return f"ann-{uuid4().hex[:8]}"


def signed(user_id: str, lifetime: float | None, **claims: object) -> str:
    now = time.time()
    if lifetime is not None:
        claims["exp"] = now + lifetime
    content = {"sub": user_id, "iat": int(now), **claims}
    return jwt.encode(content, JWT_SECRET, algorithm="HS256")


def ms_of(token: str) -> int:
    claims = jwt.decode(token, options={"verify_signature": False})
    return int(claims["exp"] * 1000)


# Refresh


def test_an_expiring_token_is_replaced_and_the_socket_stays(system: System, ann):
    first, second = signed(ann, 3), signed(ann, 3600)
    with Client(system, token=first) as client:
        assert client.receive()["event"] == "welcome"
        assert client.expect("token_expiring") == {"expires_at": ms_of(first)}
        client.send("refresh", {"token": second})
        assert client.expect("token_refreshed") == {"expires_at": ms_of(second)}
        wait_until(lambda: time.time() > ms_of(first) / 1000 + 2)
        client.send("heartbeat")
        client.expect("heartbeat_ack")
        assert system.is_online(ann)
        events = [frame["event"] for frame in client.seen]
        assert events.count("token_expiring") == 1


def test_the_new_token_ends_the_socket_as_the_first_one_would_have(system, ann):
    with Client(system, token=signed(ann, 3600)).opened() as client:
        client.send("refresh", {"token": signed(ann, 2)})
        client.expect("token_refreshed")
        # Half-way: a client with short tokens must have a pause.
        client.expect("token_expiring")
        assert client.expect_close() == CloseCode.NOT_AUTHENTICATED


def test_a_token_without_an_end_gives_the_socket_none(system, ann):
    with Client(system, token=signed(ann, 2)).opened() as client:
        client.send("refresh", {"token": signed(ann, None)})
        assert client.expect("token_refreshed") == {"expires_at": None}
        client.send("refresh", {"token": signed(ann, 1e300)})
        assert client.expect("token_refreshed") == {"expires_at": 2**53}


def test_a_long_token_warns_only_in_its_last_minute(system, ann):
    token = signed(ann, 62)
    with Client(system, token=token).opened() as client:
        client.send("heartbeat")
        client.expect("heartbeat_ack")
        events = [frame["event"] for frame in client.seen]
        assert "token_expiring" not in events or time.time() > ms_of(token) / 1000 - 60
        assert client.expect("token_expiring")["expires_at"] == ms_of(token)


def test_a_bad_token_changes_nothing(system, ann):
    first = signed(ann, 4)
    bad = [
        "",
        "garbage",
        signed(f"other-{ann}", 3600),
        signed(ann, -1),
        signed(ann, 3600, nbf=time.time() + 600),
        jwt.encode({"sub": ann}, "x" * 32, algorithm="HS256"),
        jwt.encode({"sub": ann}, None, algorithm="none"),
        signed_by(ES256, sub=ann),
    ]
    with Client(system, token=first).opened() as client:
        for token in bad:
            client.send("refresh", {"token": token})
            assert client.expect("error")["code"] == "bad_token"
        for data in ({}, {"token": None}, {"token": 5}):
            client.send("refresh", data)
            assert client.expect("error")["code"] == "bad_frame"
        assert client.expect_close() == CloseCode.NOT_AUTHENTICATED
        assert ms_of(first) / 1000 <= time.time()


def test_a_ticket_has_the_end_of_its_token_and_may_be_refreshed(system, ann):
    token = signed(ann, 6)
    _, answer = system.request("POST", "/api/ws-ticket", token=token)
    ticket = answer["data"]["ticket"]
    assert ann in system.redis.get(f"ws_ticket:{ticket}")
    assert token.split(".")[2] not in system.redis.get(f"ws_ticket:{ticket}")
    with Client(system, query=f"?ticket={ticket}", web=1) as client:
        assert client.expect("token_expiring") == {"expires_at": ms_of(token)}
        client.send("refresh", {"token": signed(ann, 1)})
        client.expect("token_refreshed")
        assert client.expect_close() == CloseCode.NOT_AUTHENTICATED
        assert time.time() < ms_of(token) / 1000


# Public keys


@pytest.fixture(scope="module")
def provider():
    keys = [public_jwk(algorithm, algorithm) for algorithm in PUBLIC]
    with running_provider(*keys) as provider:
        yield provider


@pytest.fixture(scope="module")
def with_jwks(system: System, provider):
    environ = {
        "PRESENCE_JWT_SECRET": "",
        "PRESENCE_JWKS_URL": provider.url,
        "PRESENCE_JWT_AUDIENCE": "presence",
    }
    with system.another_web(**environ) as number:
        yield number


def published(algorithm: str, user_id: str, **options) -> str:
    options = {"kid": algorithm, "aud": "presence", "sub": user_id} | options
    return signed_by(algorithm, **options)


@pytest.mark.parametrize("algorithm", PUBLIC)
def test_a_gateway_takes_tokens_of_the_provider(system, with_jwks, ann, algorithm):
    token = published(algorithm, ann)
    with Client(system, token=token, web=with_jwks).opened() as client:
        client.send("refresh", {"token": published(algorithm, ann, lifetime=7200)})
        client.expect("token_refreshed")
    status, _ = system.request("GET", FRIENDS, token=token, web=with_jwks)
    assert status == 200


@pytest.mark.parametrize(
    "options",
    [{"kid": RS256}, {"number": 1}, {"aud": "another"}, {"lifetime": -1.0}],
    ids=lambda options: next(iter(options)),
)
def test_a_gateway_refuses_other_tokens(system, with_jwks, ann, options):
    attacks = [published(ES256, ann, **options), signed(ann, 60, aud="presence")]
    for attack in attacks:
        client = Client(system, token=attack, web=with_jwks, beats=None)
        assert client.expect_close() == CloseCode.NOT_AUTHENTICATED
        status, _ = system.request("GET", FRIENDS, token=attack, web=with_jwks)
        assert status == 401


def test_a_slow_provider_delays_only_those_who_need_it(
    system, with_jwks, provider, ann
):
    token = published(EDDSA, ann)
    with Client(system, token=token, web=with_jwks).opened() as open_one:
        provider.delay = 3.0
        reads = provider.reads
        try:
            new = Client(
                system,
                token=published(EDDSA, ann, kid="unknown"),
                web=with_jwks,
                beats=None,
            )
            wait_until(lambda: provider.reads > reads)
            open_one.send("heartbeat")
            open_one.expect("heartbeat_ack", patience=2.0)
        finally:
            provider.delay = 0.0
        assert new.expect_close() == CloseCode.NOT_AUTHENTICATED


def test_the_host_signs_users_in_without_a_secret_by_ticket_only(
    system, with_jwks, ann
):
    path = f"/api/admin/users/{ann}/ticket"
    _, answer = system.request("POST", path, token=SERVICE_KEY, web=with_jwks)
    assert answer["data"].keys() == {"ticket", "expires_in"}
    query = f"?ticket={answer['data']['ticket']}"
    with Client(system, query=query, web=with_jwks).opened() as client:
        assert client.seen[0]["data"]["user_id"] == ann


def test_while_the_provider_is_away_known_keys_work(system, ann):
    with running_provider(public_jwk(RS256, RS256)) as provider:
        environ = {"PRESENCE_JWT_SECRET": "", "PRESENCE_JWKS_URL": provider.url}
        with system.another_web(**environ) as web:
            token, unknown = published(RS256, ann), published(ES256, ann)
            Client(system, token=token, web=web).opened().close()
            provider.stop()
            with Client(system, token=token, web=web).opened():
                # Nobody can say now whether that key is a new one: try again.
                client = Client(system, token=unknown, web=web, beats=None)
                assert client.expect_close() == CloseCode.TRY_AGAIN_LATER
                status, answer = system.request("GET", FRIENDS, token=unknown, web=web)
                assert (status, answer["error"]["code"]) == (503, "tokens_unavailable")
            provider.keys = [public_jwk(ES256, ES256)]
            provider.start()
            Client(system, token=unknown, web=web).opened().close()


# Revocation


@pytest.fixture
def other_secret_webs(system: System):
    """Rotation: gateways of the old and of the new settings run side by side."""
    both = f"{'n' * 32},{'o' * 32}"
    with system.another_web(PRESENCE_JWT_SECRET=both) as web:
        yield web


def test_a_rotated_secret_works_on(system, other_secret_webs, ann):
    for secret in ("n" * 32, "o" * 32):
        token = jwt.encode({"sub": ann}, secret, algorithm="HS256")
        Client(system, token=token, web=other_secret_webs).opened().close()
    refused = jwt.encode({"sub": ann}, JWT_SECRET, algorithm="HS256")
    client = Client(system, token=refused, web=other_secret_webs, beats=None)
    assert client.expect_close() == CloseCode.NOT_AUTHENTICATED


def next_second() -> None:
    """What is issued from now on is newer than a revocation before this call."""
    began = int(time.time())
    wait_until(lambda: time.time() >= began + 1)


def test_a_revocation_closes_all_sockets_and_refuses_all_old_tokens(system, ann):
    bob = f"bob-{ann}"
    system.befriend(ann, bob)
    token, without_iat = signed(ann, 3600), system.token(ann)
    of_host = system.admin("POST", f"/users/{ann}/ticket", {})["data"]
    tickets = [
        system.request("POST", "/api/ws-ticket", token=old)[1]["data"]["ticket"]
        for old in (token, without_iat)
    ]
    with (
        Client(system, bob).opened() as friend,
        Client(system, token=token, web=0).opened() as one,
        Client(system, token=without_iat, web=1).opened() as other,
    ):
        friend.expect_change(ann, "online")
        system.admin("POST", f"/users/{ann}/revoke")
        for client in (one, other):
            assert client.expect_close() == CloseCode.NOT_AUTHENTICATED
        friend.expect_change(ann, "offline")
        for web in (0, 1):
            for old in (token, without_iat, of_host["token"]):
                client = Client(system, token=old, web=web, beats=None)
                assert client.expect_close() == CloseCode.NOT_AUTHENTICATED
                calls = [("GET", FRIENDS), ("POST", "/api/ws-ticket")]
                for method, path in calls:
                    status, _ = system.request(method, path, token=old, web=web)
                    assert status == 401
        for ticket in (*tickets, of_host["ticket"]):
            client = Client(system, query=f"?ticket={ticket}", web=1, beats=None)
            assert client.expect_close() == CloseCode.NOT_AUTHENTICATED
        # At once again, by the host: its ticket and its token are newer.
        again = system.admin("POST", f"/users/{ann}/ticket", {})["data"]
        with Client(system, query=f"?ticket={again['ticket']}", web=1).opened():
            friend.expect_change(ann, "online")
            status, _ = system.request("GET", FRIENDS, token=again["token"], web=1)
            assert status == 200
            next_second()
            with Client(system, token=signed(ann, 60)).opened() as late:
                # An old token cannot come back by a refresh either.
                late.send("refresh", {"token": token})
                assert late.expect("error")["code"] == "bad_token"
        # A gateway that starts later knows it too.
        with system.another_web() as web:
            client = Client(system, token=token, web=web, beats=None)
            assert client.expect_close() == CloseCode.NOT_AUTHENTICATED


@pytest.mark.slow
def test_a_revocation_in_postgresql_reaches_all_gateways(ann):
    with empty_postgresql() as url:
        system = System(database_url=url)
        try:
            system.start()
            token = signed(ann, 3600)
            with (
                Client(system, token=token, web=0).opened() as one,
                Client(system, token=token, web=1).opened() as other,
            ):
                for _ in range(2):
                    system.admin("POST", f"/users/{ann}/revoke")
                for client in (one, other):
                    assert client.expect_close() == CloseCode.NOT_AUTHENTICATED
            for web in (0, 1):
                status, _ = system.request("GET", FRIENDS, token=token, web=web)
                assert status == 401
        finally:
            system.close()


def test_a_socket_that_is_opened_meanwhile_does_not_stay(system, ann):
    """Handshakes without a pause on both gateways, and one revocation among them."""
    token = signed(ann, 3600)
    opened: list[Client] = []
    try:
        for number in range(60):
            if number == 30:
                system.admin("POST", f"/users/{ann}/revoke")
            opened.append(Client(system, token=token, web=number % 2))
        for client in opened:
            assert client.expect_close() == CloseCode.NOT_AUTHENTICATED
        wait_until(lambda: not system.is_online(ann))
    finally:
        for client in opened:
            client.close()


def test_without_redis_the_gateways_notice_a_revocation_in_sql(system, ann):
    """As if the message had been lost: only the row is written."""
    with (
        Client(system, token=signed(ann, 3600)).opened() as one,
        Client(system, token=signed(ann, 3600), web=1).opened() as other,
    ):
        engine = make_engine(Settings.from_env(system.environ).database_url)
        with session_factory(engine)() as session:
            revoke(session, ann, int(time.time()))
            session.commit()
        engine.dispose()
        for client in (one, other):
            assert client.expect_close() == CloseCode.NOT_AUTHENTICATED


def test_a_new_token_keeps_its_socket_when_an_old_one_is_revoked(system, ann):
    old = signed(ann, 3600, iat=int(time.time()) - 100)
    newer = signed(ann, 3600, iat=int(time.time()) + 30)
    with (
        Client(system, token=old).opened() as one,
        Client(system, token=newer, web=1).opened() as other,
    ):
        system.admin("POST", f"/users/{ann}/revoke")
        assert one.expect_close() == CloseCode.NOT_AUTHENTICATED
        other.send("heartbeat")
        other.expect("heartbeat_ack")
        with pytest.raises(ConnectionClosed):
            one.send("heartbeat")
