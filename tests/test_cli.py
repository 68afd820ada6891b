"""The operators' commands, on a database of their own."""

from __future__ import annotations

import time

import jwt
import pytest
from flask import Flask
from sqlalchemy import select

from app import cli
from app.factory import create_app
from app.tokens import BadToken
from config import Settings
from models.sql.audience import relevant_users
from models.sql.csv_rows import FILES
from models.sql.db import Base
from models.sql.revocations import Revocation


@pytest.fixture
def app(tmp_path) -> Flask:
    settings = Settings.from_env(
        {
            "DATABASE_URL": f"sqlite:///{tmp_path / 'greendot.db'}",
            # Nobody listens there: the commands work on the graph while Redis is away.
            "REDIS_URL": "redis://127.0.0.1:9/0",
            "PRESENCE_JWT_SECRET": "s" * 32,
        }
    )
    app = create_app(settings)
    with cli_services(app).sessions() as session:
        engine = session.get_bind()
        Base.metadata.create_all(engine)
    yield app
    engine.dispose()


def cli_services(app: Flask):
    with app.app_context():
        return cli.services()


def run(app: Flask, *arguments: str):
    return app.test_cli_runner().invoke(args=arguments)


def audience_of(app: Flask, user_id: str) -> set[str]:
    with cli_services(app).sessions() as session:
        return relevant_users(session, [user_id])[user_id]


def test_the_demo_is_seeded_once_however_often_it_is_asked_for(app):
    first = run(app, "seed-demo")
    assert first.exit_code == 0, first.output
    audience = audience_of(app, "ada")
    assert {"grace", "alan", "radia"} <= audience  # friends, and a conversation
    assert run(app, "seed-demo").exit_code == 0
    assert audience_of(app, "ada") == audience


def test_a_pending_and_a_blocked_friendship_of_the_demo_show_nobody(app):
    run(app, "seed-demo")
    assert "linus" not in audience_of(app, "radia")
    assert "linus" not in audience_of(app, "edsger")


def test_a_folder_is_imported_and_what_changed_is_told(app, tmp_path):
    (tmp_path / "users.csv").write_text("id\nann\nbob\n", encoding="utf-8")
    (tmp_path / "friendships.csv").write_text(
        "user_a,user_b\nann,bob\n", encoding="utf-8"
    )
    done = run(app, "import-csv", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert "1 pairs see each other from now on, 0 no longer do" in done.output
    assert audience_of(app, "ann") == {"bob"}


def test_the_help_names_every_file_that_is_read(app):
    said = run(app, "import-csv", "--help").output
    assert [file for file in FILES if file not in said] == []


def test_a_wrong_folder_is_one_line_and_changes_nothing(app, tmp_path):
    (tmp_path / "users.csv").write_text("id\nann\n", encoding="utf-8")
    (tmp_path / "friendships.csv").write_text(
        "user_a,user_b\nann,nobody\n", encoding="utf-8"
    )
    done = run(app, "import-csv", str(tmp_path))
    assert done.exit_code == 1
    assert done.output == "Error: friendships.csv:2: unknown user nobody\n"
    assert audience_of(app, "ann") == set()


def test_a_token_signs_in_as_the_user_for_its_lifetime(app):
    done = run(app, "token", "ada", "--lifetime", "60")
    tokens = cli_services(app).tokens
    identity = tokens.read(done.output.strip())
    assert identity.user_id == "ada"
    longer = run(app, "token", "ada", "--lifetime", "3600").output.strip()
    later = tokens.read(longer).expires_at - identity.expires_at
    assert later == pytest.approx(3540, abs=5)


@pytest.mark.parametrize(
    "arguments", [("token", "no spaces"), ("token", "ada", "--lifetime", "0")]
)
def test_a_wrong_argument_is_refused(app, arguments):
    done = run(app, *arguments)
    assert done.exit_code == 2
    assert "Error: Invalid value" in done.output


def test_a_user_is_revoked_while_redis_is_away(app):
    done = run(app, "revoke", "ada")
    assert done.exit_code == 0, done.output
    assert "ada" in done.output
    services = cli_services(app)
    with services.sessions() as session:
        (revoked,) = session.scalars(select(Revocation))
        assert revoked.user_id == "ada"
        assert revoked.revoked_at <= time.time()
    token = jwt.encode({"sub": "ada"}, "s" * 32)
    with pytest.raises(BadToken, match="revoked"):
        services.tokens.read(token)
    wrong = run(app, "revoke", "a b")
    assert wrong.exit_code == 2
    assert "Invalid value for USER" in wrong.output


def test_with_public_keys_there_is_no_secret_to_sign_with(tmp_path):
    settings = Settings.from_env(
        {
            "DATABASE_URL": f"sqlite:///{tmp_path / 'greendot.db'}",
            "REDIS_URL": "redis://127.0.0.1:9/0",
            "PRESENCE_JWKS_URL": "https://login.example.com/jwks.json",
        }
    )
    done = run(create_app(settings), "token", "ada")
    assert done.exit_code == 1
    assert done.output.startswith("Error: only the host can sign tokens")


# sync


def folder_of(tmp_path, users: int, friends: str = ""):
    """Files with so many users, who are called user-0 and so on."""
    folder = tmp_path / "sync"
    folder.mkdir(exist_ok=True)
    rows = "".join(f"user-{number},\n" for number in range(users))
    (folder / "users.csv").write_text(f"id,display_name\n{rows}", encoding="utf-8")
    (folder / "friendships.csv").write_text(f"user,friend\n{friends}", encoding="utf-8")
    return str(folder)


def test_a_dry_run_changes_nothing_and_says_what_would_change(app, tmp_path):
    folder = folder_of(tmp_path, 1200, "user-0,user-1\n")
    done = run(app, "sync", "--from-csv", folder, "--dry-run")
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines == [
        ["create", "update", "delete"],
        ["users", "1,200", "0", "0"],
        ["friendships", "1", "0", "0"],
        ["Nothing", "is", "changed", "(--dry-run)"],
    ]
    assert audience_of(app, "user-0") == set()
    real = run(app, "sync", "--from-csv", folder)
    assert real.exit_code == 0, real.output
    assert real.stdout.splitlines()[:3] == done.stdout.splitlines()[:3]
    assert audience_of(app, "user-0") == {"user-1"}
    again = run(app, "sync", "--from-csv", folder)
    assert again.exit_code == 0
    assert again.stdout.splitlines()[-1] == "Nothing had to change"


def test_bad_rows_are_reported_and_change_the_exit_code(app, tmp_path):
    folder = folder_of(tmp_path, 2, "user-0,user-1\nuser-0,ghost\n")
    for more in (["--dry-run"], []):
        done = run(app, "sync", "--from-csv", folder, *more)
        assert done.exit_code == cli.BAD_ROWS
        assert "friendships.csv:3: unknown user ghost" in done.stderr
        assert "1 bad rows are left out" in done.stderr
    assert audience_of(app, "user-0") == {"user-1"}


def test_a_file_that_lacks_most_rows_is_refused(app, tmp_path):
    assert run(app, "sync", "--from-csv", folder_of(tmp_path, 100)).exit_code == 0
    for users in (0, 89):
        folder = folder_of(tmp_path, users)
        for more in ([], ["--dry-run"], ["--allow-deletes", "10.9"]):
            done = run(app, "sync", "--from-csv", folder, *more)
            assert done.exit_code == 1
            assert f"this would delete {100 - users} of 100 users" in done.output
            assert "nothing is changed" in done.output
            assert "--allow-deletes" in done.output
    again = run(app, "sync", "--from-csv", folder_of(tmp_path, 100), "--dry-run")
    assert "users                  0         0         0" in again.stdout
    assert run(app, "sync", "--from-csv", folder_of(tmp_path, 90)).exit_code == 0
    folder = folder_of(tmp_path, 1)
    done = run(app, "sync", "--from-csv", folder, "--allow-deletes", "99%")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[1].split() == ["users", "0", "0", "89"]


def test_a_sync_that_cannot_run_says_why(app, tmp_path):
    for share in ("101", "-1", "x", "nan"):
        done = run(app, "sync", "--from-csv", str(tmp_path), "--allow-deletes", share)
        assert done.exit_code == 2
        assert "is not a number from 0 to 100" in done.output
    done = run(app, "sync", "--from-csv", str(tmp_path))
    assert done.exit_code == 1
    assert "has none of users.csv" in done.output
    (tmp_path / "users.csv").write_text("", encoding="utf-8")
    done = run(app, "sync", "--from-csv", str(tmp_path))
    assert done.exit_code == 1
    assert "users.csv:1: the header lacks id" in done.output


def test_the_help_of_a_sync_names_every_file_that_is_read(app):
    done = run(app, "sync", "--help")
    assert all(name in done.output for name in FILES)
