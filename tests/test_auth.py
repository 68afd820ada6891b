"""Tokens that were verified before."""

from __future__ import annotations

import time

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
