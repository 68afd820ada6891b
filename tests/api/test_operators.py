"""The operators' page: access to it, what it shows, and what it does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from uuid import uuid4

import pytest
from flask.testing import FlaskClient

from app import operator_sessions
from app.factory import create_app
from app.operators import access
from app.services import EXTENSION, Services
from config import Settings
from models.detail import Layer, Layers
from models.events import Availability, Transition
from models.presence.samples import Sample
from models.presence.store import LiveConnection
from models.sql import graph
from models.sql.friendship import FriendshipStatus
from models.sql.presence_settings import put_settings, read_settings
from models.visibility import PresenceSettings, Visible

pytestmark = pytest.mark.integration

KEY = "service-key-of-the-operators-page"
PROXY = {"REMOTE_ADDR": "10.1.2.3"}
Open = Callable[..., FlaskClient]


@pytest.fixture
def opened(database_url: str, valkey_url: str) -> Iterator[Open]:
    """Make clients of an application with settings of its own."""
    with ExitStack() as stack:

        def open_(**settings: object) -> FlaskClient:
            values = {
                "redis_url": valkey_url,
                "jwt_secret": "s" * 32,
                "service_key": KEY,
                **settings,
            }
            app = create_app(
                Settings(database_url=database_url, broker_url=valkey_url, **values)
            )
            current = app.extensions[EXTENSION]
            stack.callback(current.database.dispose)
            stack.callback(current.sessions.kw["bind"].dispose)
            return app.test_client()

        yield open_


@pytest.fixture
def web(opened: Open) -> FlaskClient:
    return opened()


@pytest.fixture
def signed_in(web: FlaskClient) -> FlaskClient:
    assert web.post("/admin/sign-in", data={"key": KEY}).status_code == 303
    return web


def services_of(web: FlaskClient) -> Services:
    return web.application.extensions[EXTENSION]


def names(*wanted: str) -> list[str]:
    unique = uuid4().hex[:8]
    return [f"{name}-{unique}" for name in wanted]


def befriend(web: FlaskClient, one: str, other: str) -> None:
    with services_of(web).sessions() as session:
        graph.load_bulk(
            session,
            {one: one, other: other},
            [(*sorted((one, other)), FriendshipStatus.ACCEPTED)],
            [],
        )
        session.commit()


def connect(web: FlaskClient, user: str, gateway: str) -> None:
    """Have `gateway` hold a connection of `user`."""
    shard = services_of(web).presence.shard_of(user)
    live = [LiveConnection(user, f"{gateway}:1")]
    shard.gateways.heartbeat(gateway, live, 0, connections=1)
    shard.store.connect(gateway, live)


def text_of(html: str) -> str:
    """What a person reads."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def token_in(html: str) -> str:
    (*_, token) = re.findall(r'name="token" value="([^"]+)"', html)
    return token


# Access


def test_without_a_service_key_there_is_no_page(opened):
    web = opened(service_key=None)
    assert web.get("/admin").status_code == 404
    assert web.post("/admin/sign-in", data={"key": ""}).status_code == 404


def test_without_a_session_there_is_a_form_and_nothing_else(web):
    answer = web.get("/admin")
    assert answer.status_code == 200
    assert "Service key" in answer.text
    assert "Gateways" not in answer.text
    for method, path in (
        ("GET", "/admin/state"),
        ("GET", "/admin/user?id=ann"),
        ("POST", "/admin/user/disconnect"),
        ("POST", "/admin/sign-out"),
    ):
        answer = web.open(path, method=method)
        assert answer.status_code == 401
        assert "Service key" in answer.text


@pytest.mark.parametrize("key", ["", "wrong", KEY + "x", "ключ"])
def test_a_wrong_key_opens_nothing(web, key):
    answer = web.post("/admin/sign-in", data={"key": key})
    assert answer.status_code == 401
    assert "Set-Cookie" not in answer.headers
    assert web.get("/admin/state").status_code == 401


def test_the_session_is_a_careful_cookie(web):
    answer = web.post("/admin/sign-in", data={"key": KEY}, base_url="https://localhost")
    cookie = answer.headers["Set-Cookie"]
    for part in ("HttpOnly", "SameSite=Strict", "Path=/admin", "Secure"):
        assert part in cookie
    assert f"Max-Age={operator_sessions.SESSION_SECONDS}" in cookie
    assert KEY not in cookie


def test_a_session_ends(signed_in, opened, monkeypatch):
    assert signed_in.get("/admin/state").status_code == 200
    cookie = signed_in.get_cookie(operator_sessions.COOKIE, path="/admin")
    other = opened(service_key="another-service-key-with-enough-characters")
    other.set_cookie(operator_sessions.COOKIE, cookie.value, path="/admin")
    assert other.get("/admin/state").status_code == 401
    with monkeypatch.context() as later:
        later.setattr(access, "SESSION_SECONDS", -1)
        assert signed_in.get("/admin/state").status_code == 401
    token = token_in(signed_in.get("/admin").text)
    answer = signed_in.post("/admin/sign-out", data={"token": token})
    assert answer.status_code == 303
    assert signed_in.get("/admin/state").status_code == 401


def test_every_page_has_careful_headers_and_no_secret(signed_in):
    (ann,) = names("ann")
    for path in ("/admin", "/admin/state", f"/admin/user?id={ann}"):
        answer = signed_in.get(path)
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert KEY not in answer.text


# Forms


def test_only_a_form_of_this_session_does_something(signed_in, opened):
    ann, bob = names("ann", "bob")
    befriend(signed_in, ann, bob)
    gateway = f"web.{ann}:aa-v4"
    connect(signed_in, ann, gateway)
    other = opened()
    other.post("/admin/sign-in", data={"key": KEY})
    foreign = token_in(other.get("/admin").text)
    own = token_in(signed_in.get("/admin").text)
    form = {"id": ann, "sure": "yes"}
    for token, origin in (
        ("", None),
        ("garbage", None),
        (foreign, None),
        (own, "https://evil.example"),
        (own, "null"),
    ):
        answer = signed_in.post(
            "/admin/user/disconnect",
            data={**form, "token": token},
            headers={"Origin": origin} if origin else {},
        )
        assert answer.status_code == 403
    assert disconnects(signed_in, gateway) == []
    evil = {"Origin": "https://evil.example"}
    answer = signed_in.post("/admin/sign-in", data={"key": KEY}, headers=evil)
    assert answer.status_code == 403


def disconnects(web: FlaskClient, gateway: str) -> list[str]:
    presence = services_of(web).presence
    found = presence.gateway_streams.read(gateway, "0-0", 10).messages
    return [one for _, message in found for one in message.disconnects]


def test_disconnect_asks_first(signed_in):
    ann, bob = names("ann", "bob")
    befriend(signed_in, ann, bob)
    gateway = f"web.{ann}:aa-v4"
    connect(signed_in, ann, gateway)
    page = signed_in.get(f"/admin/user?id={ann}").text
    asked = signed_in.post(
        "/admin/user/disconnect", data={"id": ann, "token": token_in(page)}
    )
    assert asked.status_code == 200
    assert f"Disconnect {ann} ?" in text_of(asked.text)
    assert disconnects(signed_in, gateway) == []
    done = signed_in.post(
        "/admin/user/disconnect",
        data={"id": ann, "token": token_in(asked.text), "sure": "yes"},
    )
    assert done.status_code == 303
    assert disconnects(signed_in, gateway) == [ann]
    assert "sockets of this user are closed" in signed_in.get(done.location).text


def test_clear_takes_back_what_the_application_has_set(signed_in):
    ann, bob = names("ann", "bob")
    befriend(signed_in, ann, bob)
    sessions = services_of(signed_in).sessions
    manual = Layer(Availability.DND, "by hand", since=5)
    host = Layer(Availability.AWAY, "by the host", since=5)
    with sessions() as session:
        put_settings(session, ann, PresenceSettings(layers=Layers(manual, host)))
        session.commit()
    connect(signed_in, ann, f"web.{ann}:aa-v4")
    page = signed_in.get(f"/admin/user?id={ann}").text
    assert "The user has set: dnd, by hand." in text_of(page)
    assert "The application has set: away, by the host." in text_of(page)
    signed_in.post(
        "/admin/user/clear",
        data={"id": ann, "token": token_in(page), "sure": "yes"},
    )
    with sessions() as session:
        layers = read_settings(session, ann).layers
    assert layers.host.is_empty
    assert layers.manual == manual


def test_an_action_that_is_none_is_not_found(signed_in):
    token = token_in(signed_in.get("/admin").text)
    answer = signed_in.post("/admin/user/fire", data={"id": "a", "token": token})
    assert answer.status_code == 404


# What it shows


def test_it_shows_the_system(signed_in):
    ann, bob = names("ann", "bob")
    gateway = f"web.{ann}:aa-v4"
    connect(signed_in, ann, gateway)
    presence = services_of(signed_in).presence
    now = presence.now()
    presence.recent_transitions.add(0, [Transition(bob, "offline", now)])
    for transitions in (10, 30):
        presence.samples.add(Sample(7, 8, 1, 0, transitions))
    html = signed_in.get("/admin/state").text
    (row,) = [one for one in re.findall(r"<tr>.*?</tr>", html) if gateway in one]
    assert re.fullmatch(rf"{gateway} 1 1 \d.* ago", text_of(row))
    assert re.search(rf"{bob} offline [\d.]+ s ago", text_of(html))
    assert "Online users 7" in text_of(html)
    assert html.count("<polyline") == 4
    assert "Last sweep" in html


def test_receivers_are_shown_without_their_paths(opened):
    url = f"https://hooks.example.com/{uuid4().hex}"
    web = opened(webhook_urls=(url,), webhook_secrets=("whsec_" + "A" * 44,))
    web.post("/admin/sign-in", data={"key": KEY})
    html = web.get("/admin").text
    assert "https://hooks.example.com" in html
    assert url not in html


def test_it_says_that_redis_is_away(opened):
    web = opened(redis_url="redis://127.0.0.1:9/0")
    web.post("/admin/sign-in", data={"key": KEY})
    answer = web.get("/admin/state")
    assert answer.status_code == 200
    assert "Redis does not answer" in answer.text
    assert web.get("/admin").status_code == 200


def test_it_says_why_a_user_is_green(signed_in):
    ann, bob = names("ann", "bob+x")
    befriend(signed_in, ann, bob)
    gateway = f"web.{ann}:aa-v4"
    connect(signed_in, ann, gateway)
    query = {"id": ann, "viewer": bob}
    text = text_of(signed_in.get("/admin/user", query_string=query).text)
    assert "Why is this user green?" in text
    assert f"A connection to gateway {gateway}" in text
    assert re.search(rf"online , because {ann} and {re.escape(bob)} are friends", text)
    with services_of(signed_in).sessions() as session:
        put_settings(session, ann, PresenceSettings(visibility=Visible.NOBODY))
        session.commit()
    text = text_of(signed_in.get("/admin/user", query_string=query).text)
    assert "offline , because" in text
    assert f"{ann} is invisible" in text


def test_it_says_why_a_user_is_grey(signed_in):
    ann, bob = names("ann", "bob+x")
    befriend(signed_in, ann, bob)
    # A browser may send the + of an id as it stands.
    text = text_of(signed_in.get(f"/admin/user?id={bob}").text)
    assert "Why is this user grey?" in text
    assert f"{bob} is offline, because no connection is open or in its grace." in text


@pytest.mark.parametrize(
    ("given", "status"),
    [("nobody-knows-me", 404), ("", 400), ("<b>", 400), ("a" * 129, 400)],
)
def test_no_such_user(signed_in, given, status):
    answer = signed_in.get("/admin/user", query_string={"id": given})
    assert answer.status_code == status
    assert 'role="alert"' in answer.text
    assert "<b>" not in answer.text


# By the header of a proxy


@pytest.fixture
def behind_proxy(opened):
    settings = Settings.from_env(
        {
            "SECRET_KEY": "s" * 32,
            "PRESENCE_SERVICE_KEY": KEY,
            "PRESENCE_ADMIN_HEADER": "X-Forwarded-User",
            "PRESENCE_ADMIN_PROXIES": "10.1.0.0/16,::1",
        }
    )
    return opened(
        admin_header=settings.admin_header, admin_proxies=settings.admin_proxies
    )


@pytest.mark.parametrize("peer", ["10.1.2.3", "::ffff:10.1.2.3", "::1"])
def test_a_trusted_proxy_names_the_operator(behind_proxy, peer):
    answer = behind_proxy.get(
        "/admin",
        headers={"X-Forwarded-User": "Olga <o@example.com>"},
        environ_overrides={"REMOTE_ADDR": peer},
    )
    assert "Gateways" in answer.text
    assert "Olga &lt;o@example.com&gt;" in answer.text
    assert "Sign out" not in answer.text


@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        ("10.2.0.1", {"X-Forwarded-User": "olga"}),
        ("10.2.0.1", {"X-Forwarded-User": "olga", "X-Forwarded-For": "10.1.2.3"}),
        ("", {"X-Forwarded-User": "olga"}),
        ("10.1.2.3", {"X-Forwarded-User": " "}),
        ("10.1.2.3", {}),
    ],
)
def test_nobody_else_does(behind_proxy, peer, headers):
    answer = behind_proxy.get(
        "/admin/state", headers=headers, environ_overrides={"REMOTE_ADDR": peer}
    )
    assert answer.status_code == 401


def test_without_the_setting_the_header_means_nothing(web):
    answer = web.get(
        "/admin/state",
        headers={"X-Forwarded-User": "olga"},
        environ_overrides=PROXY,
    )
    assert answer.status_code == 401


def test_a_form_is_for_the_named_operator_only(behind_proxy):
    ann, bob = names("ann", "bob")
    befriend(behind_proxy, ann, bob)

    def send(name: str, token: str) -> int:
        return behind_proxy.post(
            "/admin/user/disconnect",
            data={"id": ann, "token": token},
            headers={"X-Forwarded-User": name},
            environ_overrides=PROXY,
        ).status_code

    page = behind_proxy.get(
        f"/admin/user?id={ann}",
        headers={"X-Forwarded-User": "olga"},
        environ_overrides=PROXY,
    )
    token = token_in(page.text)
    assert send("olga", token) == 200
    assert send("eve", token) == 403
    assert send("olga", "") == 403
