"""A gateway whose loops the test runs itself."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from app.gateway.gateway import Gateway
from app.new_users import NewUsers
from app.revocations import Revocations
from app.tokens import Tokens
from config import Settings
from models.presence import Presence
from models.presence.redis.backend import SingleServer
from models.presence.redis.client import connect
from tests.databases import friends_in
from tests.gateway.client import AFTER, BEFORE, close_all


@pytest.fixture(autouse=True)
def _short_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests run the loops' steps, so one that waits in vain holds up the test."""
    monkeypatch.setattr("app.gateway.event_reader.BLOCKING_READ_MS", 50)


@pytest.fixture(autouse=True)
def _closed_sockets() -> Iterator[None]:
    yield
    close_all()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A database in which ann has two friends."""
    with friends_in(tmp_path, ("ann", BEFORE), ("ann", AFTER)) as engine:
        yield engine


@pytest.fixture
def settings(engine: Engine, valkey_url: str) -> Settings:
    return Settings(
        database_url=str(engine.url),
        redis_url=valkey_url,
        broker_url=valkey_url,
        jwt_secret="s" * 32,
        service_key=None,
    )


@pytest.fixture
def presence(settings: Settings) -> Presence:
    prefix = f"{{a{secrets.token_hex(4)}}}:"
    return Presence(settings, [prefix], SingleServer(connect(settings)))


@pytest.fixture
def tokens(settings: Settings, engine: Engine) -> Tokens:
    """What reads the tokens of clients."""
    return Tokens(settings, Revocations(engine))


@pytest.fixture
def gateway(
    settings: Settings, presence: Presence, engine: Engine, tokens: Tokens
) -> Gateway:
    """A gateway without loops, which Redis knows."""
    gateway = Gateway(settings, presence, engine, NewUsers(engine), tokens)
    gateway.heartbeats[0].flush()
    return gateway
