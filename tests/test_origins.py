"""Which pages may use the cookie."""

from __future__ import annotations

import pytest
from flask import Flask

from app.auth import is_own_origin
from app.factory import create_app
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
    # No token: the answer is 401, and says to whom it may be shown.
    answer = app.test_client().get(
        "/api/friends/online-status", headers={"Origin": origin}
    )
    assert answer.status_code == 401
    assert answer.headers.get("Access-Control-Allow-Origin") == (
        origin if may else None
    )
