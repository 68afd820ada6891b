"""What the REST side answers where something below does not."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app import errors
from models.presence import PresenceUnavailable


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OperationalError("SELECT 1", {}, Exception("gone")), "database_unavailable"),
        (PoolTimeout("no connection was free"), "database_unavailable"),
        (PresenceUnavailable("gone"), "presence_unavailable"),
    ],
)
def test_who_asks_is_told_to_try_again(error, code):
    app = Flask(__name__)
    errors.register(app)

    @app.get("/")
    def fail() -> str:
        raise error

    answer = app.test_client().get("/")
    assert (answer.status_code, answer.json["error"]["code"]) == (503, code)
    assert answer.headers["Retry-After"] == "1"
