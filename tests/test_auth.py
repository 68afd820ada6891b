"""Tokens that were verified before."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode

import jwt
import pytest

from app.auth import Identity, issue_token, read_token
from app.errors import Unauthenticated
from config import Settings


@pytest.fixture
def settings() -> Settings:
    return Settings.from_env({"PRESENCE_JWT_SECRET": "s" * 32})


def test_a_token_that_was_good_expires(settings, monkeypatch):
    token = issue_token(settings, "ann", 60)
    identity = read_token(settings, token)
    assert identity.user_id == "ann"
    assert read_token(settings, token) == identity
    monkeypatch.setattr(time, "time", lambda: identity.expires_at)
    with pytest.raises(Unauthenticated, match="expired"):
        read_token(settings, token)


def test_a_token_is_good_for_its_own_secret_only(settings):
    token = issue_token(settings, "ann", 60)
    assert isinstance(read_token(settings, token), Identity)
    other = Settings.from_env({"PRESENCE_JWT_SECRET": "t" * 32})
    with pytest.raises(Unauthenticated, match="not valid"):
        read_token(other, token)


def signed(**claims: object) -> str:
    return jwt.encode({"sub": "ann", **claims}, "s" * 32, algorithm="HS256")


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_the_hosts_clock_may_be_a_minute_ahead(settings, claim):
    assert read_token(settings, signed(**{claim: time.time() + 50})).user_id == "ann"
    with pytest.raises(Unauthenticated, match=f"not valid yet: its {claim}"):
        read_token(settings, signed(**{claim: time.time() + 70}))


def test_exp_has_no_leeway(settings):
    with pytest.raises(Unauthenticated, match="expired"):
        read_token(settings, signed(exp=time.time() - 1))


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_what_time_changes_is_not_remembered(settings, monkeypatch, claim):
    at = time.time() + 1000
    token = signed(**{claim: at})
    with pytest.raises(Unauthenticated):
        read_token(settings, token)
    monkeypatch.setattr(time, "time", lambda: at)
    assert read_token(settings, token).user_id == "ann"
    monkeypatch.setattr(time, "time", lambda: at - 61)  # the clock was set back
    with pytest.raises(Unauthenticated):
        read_token(settings, token)


@pytest.mark.parametrize(
    ("subject", "user_id"),
    [
        (42, "42"),
        (0, "0"),
        (-7, "-7"),
        (2**70, str(2**70)),
        ("auth0|5f7c8ec7c33c6c004bbafe82", "auth0|5f7c8ec7c33c6c004bbafe82"),
        ("ann+x@example.com", "ann+x@example.com"),
        ("a" * 128, "a" * 128),
    ],
)
def test_the_subjects_of_identity_providers(settings, subject, user_id):
    assert read_token(settings, signed(sub=subject)).user_id == user_id


@pytest.mark.parametrize(
    "subject",
    [True, 42.0, 1.5, None, [], ["ann"], {}, "", "a b", "a" * 129, 10**400, -(10**128)],
)
def test_what_is_no_subject(settings, subject):
    # Past jwt.encode, which refuses some of these.
    payload = json.dumps({"sub": subject}).encode()
    token = jwt.api_jws.encode(payload, "s" * 32, algorithm="HS256")
    with pytest.raises(Unauthenticated, match="not valid"):
        read_token(settings, token)


def test_a_head_nested_without_end_is_refused_like_any_other(settings):
    head = urlsafe_b64encode(b"[" * 6000).decode().rstrip("=")
    with pytest.raises(Unauthenticated, match="not valid"):
        read_token(settings, f"{head}.e30.e30")
