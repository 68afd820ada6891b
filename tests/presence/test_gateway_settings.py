"""The settings that gateways publish for `flask doctor`."""

from __future__ import annotations

import pytest

from config import Settings
from models.presence.gateway_settings import EXPIRE_MS, published
from tests.presence.shard import GATEWAY, OTHER

pytestmark = pytest.mark.integration


def test_the_settings_of_gateways_expire_or_go_with_them(shard):
    settings = shard.presence.gateway_settings
    assert settings.read([]) == {}
    settings.publish(GATEWAY, {"PRESENCE_TRUSTED_PROXIES": "1"})
    key = shard.keys.gateway_settings(OTHER)
    shard.client.set(key, "of another program")
    found = settings.read([GATEWAY, OTHER, "unknown:1"])
    assert found == {GATEWAY: {"PRESENCE_TRUSTED_PROXIES": "1"}, OTHER: {}}
    ttl = shard.client.pttl(shard.keys.gateway_settings(GATEWAY))
    assert 0 < ttl <= EXPIRE_MS
    shard.gateways.forget(GATEWAY)
    assert settings.read([GATEWAY]) == {}


def test_what_a_gateway_publishes_is_no_secret():
    environ = {
        "PRESENCE_JWT_SECRET": "j" * 32,
        "PRESENCE_SERVICE_KEY": "k" * 32,
        "PRESENCE_ADMIN_HEADER": "X-User",
        "PRESENCE_ADMIN_PROXIES": "10.0.0.5,10.1.0.0/16",
        "PRESENCE_ALLOWED_ORIGINS": "https://a.example,https://b.example",
        "REDIS_URL": "redis://:password@127.0.0.1",
    }
    found = published(Settings.from_env(environ))
    assert found["PRESENCE_ADMIN_PROXIES"] == "10.0.0.5/32,10.1.0.0/16"
    assert found["PRESENCE_ALLOWED_ORIGINS"] == "https://a.example,https://b.example"
    assert found["PRESENCE_TRUSTED_PROXIES"] == "0"
    assert found["PRESENCE_ALLOW_INVISIBLE"] == "1"
    assert found["PRESENCE_JWT_ISSUER"] == ""
    assert found["PRESENCE_GATEWAY_TTL"] == "15"
    text = str(found)
    assert not any(secret in text for secret in ("jjj", "kkk", "password"))
