"""Which pages may use the cookie."""

from __future__ import annotations

import logging

import pytest
from flask import Flask

from app import origins
from app.auth import is_own_origin
from app.factory import create_app
from app.origins import MAX_LOGGED, RefusedOrigins
from config import Settings

ALLOWED = ("https://chat.example.com", "http://[::1]:3000")


@pytest.mark.parametrize(
    ("origin", "host", "may"),
    [
        (None, "h", True),
        ("http://h", "h", True),
        ("http://H:80", "h", True),
        ("https://h", "h:443", True),
        ("http://h:8000", "h", False),
        ("https://chat.example.com", "h", True),
        ("http://[::1]:3000", "h", True),
        ("https://chat.example.com.evil.example", "h", False),
        ("null", "h", False),
        ("http://[", "h", False),
        ("http://h:abc", "h", False),
        ("http://h", "h:abc", False),
    ],
)
def test_own_and_allowed_ones_may(origin, host, may):
    assert is_own_origin(origin, host, ALLOWED) is may


@pytest.fixture(scope="module")
def app(tmp_path_factory) -> Flask:
    folder = tmp_path_factory.mktemp("origins")
    environ = {
        "DATABASE_URL": f"sqlite:///{folder}/g.db",
        "SECRET_KEY": "s" * 32,
        "PRESENCE_ALLOWED_ORIGINS": ",".join(ALLOWED),
    }
    return create_app(Settings.from_env(environ))


@pytest.mark.parametrize(
    ("origin", "may"),
    [
        *((origin, True) for origin in ALLOWED),
        ("https://chat.example.com.evil.example", False),
        ("https://chatxexample.com", False),
        ("http://1:3000", False),
    ],
)
def test_rest_answers_them_with_cors(app, origin, may):
    # No token: the answer is 401, and names the origin that may see it.
    answer = app.test_client().get(
        "/api/friends/online-status", headers={"Origin": origin}
    )
    assert answer.status_code == 401
    assert answer.headers.get("Access-Control-Allow-Origin") == (
        origin if may else None
    )


def test_a_refused_one_is_said_once_a_minute(caplog):
    refused = RefusedOrigins()
    with caplog.at_level(logging.WARNING):
        refused.note("https://a.example", 0.0)
        refused.note("https://b.example", 30.0)
        refused.note("https://a.example", 59.0)
        refused.note("https://a.example", 60.0)
    said = [record.args[0] for record in caplog.records]
    assert said == ["https://a.example", "https://b.example", "https://a.example"]


def test_a_flood_of_them_fills_neither_log_nor_memory(caplog):
    refused = RefusedOrigins()
    with caplog.at_level(logging.WARNING):
        for number in range(10_000):
            refused.note(f"{number}\n" * 1_000, 0.0)
        refused.note("https://late.example", 60.0)
    assert len(caplog.records) == MAX_LOGGED + 1
    assert len(refused._logged_at) == 1
    assert all("\n" not in record.getMessage() for record in caplog.records)
    assert all(len(record.getMessage()) < 1_000 for record in caplog.records)


@pytest.mark.parametrize(
    ("path", "headers", "is_said"),
    [
        ("/api/ws-ticket", {"Origin": "https://evil.example"}, True),
        ("/api/ws-ticket", {"Origin": "null"}, True),
        ("/api/ws-ticket", {"Origin": "http://[", "Host": "h:abc"}, True),
        ("/api/ws-ticket", {"Origin": ALLOWED[0]}, False),
        ("/api/ws-ticket", {"Origin": "http://h", "Host": "h"}, False),
        ("/api/ws-ticket", {}, False),
        ("/healthz", {"Origin": "https://evil.example"}, False),
        # A proxy has changed the host: the browser knows better.
        (
            "/api/ws-ticket",
            {"Origin": "https://h", "Sec-Fetch-Site": "same-origin"},
            False,
        ),
    ],
)
def test_rest_says_whom_the_browser_refuses(
    app, caplog, monkeypatch, path, headers, is_said
):
    monkeypatch.setattr(origins, "refused", RefusedOrigins())
    with caplog.at_level(logging.WARNING):
        app.test_client().options(path, headers=headers)
    said = [record for record in caplog.records if record.name == "app.origins"]
    assert bool(said) is is_said
    assert all("PRESENCE_ALLOWED_ORIGINS" in record.getMessage() for record in said)
