"""What the REST side answers where something below does not."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.test import TestResponse

from app import errors
from app.factory import create_app
from app.tokens import issue_token
from config import Settings
from models.presence import PresenceUnavailable


def answer_to(error: Exception) -> TestResponse:
    """What a route that raises `error` answers."""
    app = Flask(__name__)
    errors.register(app)

    @app.get("/")
    def fail() -> str:
        raise error

    return app.test_client().get("/")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OperationalError("SELECT 1", {}, Exception("gone")), "database_unavailable"),
        (PoolTimeout("no connection was free"), "database_unavailable"),
        (PresenceUnavailable("gone"), "presence_unavailable"),
    ],
)
def test_who_asks_is_told_to_try_again(error, code):
    answer = answer_to(error)
    assert (answer.status_code, answer.json["error"]["code"]) == (503, code)
    assert answer.headers["Retry-After"] == "1"


def test_a_mistake_in_our_sql_is_our_own():
    mistake = ProgrammingError("SELECT", {}, Exception("syntax error"))
    answer = answer_to(mistake)
    assert (answer.status_code, answer.json["error"]["code"]) == (
        500,
        "internal_server_error",
    )


def test_who_forgot_to_migrate_is_told(tmp_path):
    settings = Settings.from_env(
        {
            "DATABASE_URL": f"sqlite:///{tmp_path / 'new.db'}",
            "REDIS_URL": "redis://127.0.0.1:9/0",
            "PRESENCE_JWT_SECRET": "s" * 32,
        }
    )
    app = create_app(settings)
    client = app.test_client()
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json["checks"]["database"]) == (503, False)
    token = issue_token(settings, "ann", 60)
    answer = client.get(
        "/api/friends/online-status", headers={"Authorization": f"Bearer {token}"}
    )
    assert answer.status_code == 503
    assert "alembic upgrade head" in answer.json["error"]["message"]
    (tmp_path / "users.csv").write_text("id\nann\n", encoding="utf-8")
    done = app.test_cli_runner().invoke(args=["import-csv", str(tmp_path)])
    assert done.exit_code == 1
    assert done.output.startswith("Error: the database has no tables yet")
