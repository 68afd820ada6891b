"""Settings: what the environment may say, and what is said about a wrong value."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

import redis_url
from config import PROJECT_ROOT, Settings, SettingsError
from tests.tokens import ES256, PUBLIC, private_key, public_pem

WEBHOOK_SECRET = "whsec_" + "A" * 32
NEEDED = {"PRESENCE_JWT_SECRET": "s" * 32}


def pem_of(key: object) -> str:
    public = key.public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def settings(**environ: str) -> Settings:
    return Settings.from_env({**NEEDED, **environ})


def refusal(**environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        settings(**environ)
    return str(caught.value)


def test_defaults():
    assert settings() == Settings(
        database_url=f"sqlite:///{PROJECT_ROOT}/var/greendot.db",
        redis_url="redis://127.0.0.1:6379/0",
        broker_url="redis://127.0.0.1:6379/0",
        jwt_secret="s" * 32,
        service_key=None,
    )


def test_documented_timings_are_the_defaults():
    values = settings()
    assert values.heartbeat_interval == 20
    assert values.online_ttl == 60
    assert values.offline_ttl == 86400
    assert values.disconnect_grace == 3
    assert values.sweep_interval == 5
    assert values.gateway_ttl == 15
    assert values.demo is False


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("DATABASE_URL", "sqlite:////tmp/a.db", "database_url", "sqlite:////tmp/a.db"),
        ("REDIS_URL", "rediss://h:1/2", "redis_url", "rediss://h:1/2"),
        ("CELERY_BROKER_URL", "amqp://h//", "broker_url", "amqp://h//"),
        ("PRESENCE_JWT_SECRET", "t" * 40, "jwt_secret", "t" * 40),
        ("PRESENCE_SERVICE_KEY", f" {'k' * 32} ", "service_key", "k" * 32),
        ("PRESENCE_SERVICE_KEY", "  ", "service_key", None),
        (
            "PRESENCE_ALLOWED_ORIGINS",
            "https://A.example:443, http://b.example:81/, http://[::1]:80",
            "allowed_origins",
            ("https://a.example", "http://b.example:81", "http://[::1]"),
        ),
        ("PRESENCE_HEARTBEAT_INTERVAL", "0.25", "heartbeat_interval", 0.25),
        ("PRESENCE_ONLINE_TTL", "90", "online_ttl", 90),
        ("PRESENCE_OFFLINE_TTL", "60", "offline_ttl", 60),
        ("PRESENCE_DISCONNECT_GRACE", "0", "disconnect_grace", 0),
        ("PRESENCE_SWEEP_INTERVAL", "1", "sweep_interval", 1),
        ("PRESENCE_GATEWAY_TTL", "2.5", "gateway_ttl", 2.5),
        ("PRESENCE_DRAIN_WINDOW", "0", "drain_window", 0),
        ("PRESENCE_MAX_CONNECTIONS_PER_USER", "1", "max_connections_per_user", 1),
        ("PRESENCE_MAX_FRAME_BYTES", "64", "max_frame_bytes", 64),
        ("PRESENCE_MAX_QUEUED_BYTES", "4096", "max_queued_bytes", 4096),
        ("PRESENCE_MAX_FRAMES_PER_SECOND", "0.5", "max_frames_per_second", 0.5),
        ("PRESENCE_HANDSHAKE_TIMEOUT", "2.5", "handshake_timeout", 2.5),
        ("PRESENCE_REDIS_MAX_CONNECTIONS", "2", "redis_max_connections", 2),
        ("PRESENCE_SHARDS", "8", "shards", 8),
        ("PRESENCE_REDIS_TLS_VERIFY", "0", "redis_tls_verify", False),
        (
            "PRESENCE_WEBHOOK_SECRETS",
            f" {WEBHOOK_SECRET}, {WEBHOOK_SECRET}",
            "webhook_secrets",
            (WEBHOOK_SECRET, WEBHOOK_SECRET),
        ),
        ("PRESENCE_WEBHOOK_ALLOW_PRIVATE", "1", "webhook_allow_private", True),
        ("PRESENCE_JWT_AUDIENCE", "presence", "jwt_audience", "presence"),
        ("PRESENCE_JWT_ISSUER", "https://i/", "jwt_issuer", "https://i/"),
        ("PRESENCE_LIMIT_REST", "100/60", "limit_rest", (100, 60)),
        ("PRESENCE_LIMIT_TICKETS", "5/1.5", "limit_tickets", (5, 1.5)),
        ("PRESENCE_LIMIT_HANDSHAKES_USER", "5/1", "limit_handshakes_user", (5, 1)),
        ("PRESENCE_LIMIT_HANDSHAKES_ADDRESS", " ", "limit_handshakes_address", None),
        ("PRESENCE_TRUSTED_PROXIES", "2", "trusted_proxies", 2),
        ("PRESENCE_ADMIN_HEADER", " ", "admin_header", None),
        ("PRESENCE_ADMIN_PROXIES", " , ", "admin_proxies", ()),
        ("PRESENCE_DEMO", "yes", "demo", True),
        ("PRESENCE_DEMO", "", "demo", False),
        ("WEB_CONCURRENCY", "4", "web_concurrency", 4),
        ("PRESENCE_WORKER_CONNECTIONS", "5", "worker_connections", 5),
        ("PORT", "65535", "port", 65535),
    ],
)
def test_a_variable_sets_its_field_and_no_other(variable, text, field, value):
    changed = dataclasses.asdict(settings(**{variable: text}))
    assert changed[field] == value
    before = dataclasses.asdict(settings())
    also = {"broker_url"} if variable == "REDIS_URL" else set()
    assert {name for name in changed if changed[name] != before[name]} <= {field} | also


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("DATABASE_URL", "mysql://h/d"),
        ("DATABASE_URL", "postgres:/h/d"),
        ("DATABASE_URL", "postgres://h:abc/d"),
        ("DATABASE_URL", "sqlite://x"),
        ("REDIS_URL", "http://h"),
        ("REDIS_URL", "unix:///tmp/s"),
        ("REDIS_URL", "localhost:6379"),
        ("REDIS_URL", "redis://localhost:abc"),
        ("REDIS_URL", "redis://localhost:6379/abc"),
        ("REDIS_URL", "redis://:6379"),
        ("REDIS_URL", "redis://[::1"),
        ("REDIS_URL", "redis+cluster://[::1"),
        ("CELERY_BROKER_URL", "redis://b:99999"),
        ("CELERY_BROKER_URL", "kafka://h"),
        ("CELERY_BROKER_URL", "redis+sentinel://h:1"),
        ("REDIS_URL", "redis+sentinel://h:1,i:2"),
        ("REDIS_URL", "redis+sentinel://h:1/name/x"),
        ("REDIS_URL", "redis+sentinel://h:1/name?password=hunter2"),
        ("REDIS_URL", "redis+cluster://h:x"),
        ("REDIS_URL", "redis+cluster://h:1/3"),
        ("PRESENCE_LIMIT_REST", "100"),
        ("PRESENCE_LIMIT_REST", "0/60"),
        ("PRESENCE_LIMIT_REST", "1/0"),
        ("PRESENCE_LIMIT_REST", "1/nan"),
        ("PRESENCE_LIMIT_TICKETS", "1.5/60"),
        ("PRESENCE_LIMIT_TICKETS", "1/minute"),
        ("PRESENCE_LIMIT_TICKETS", "1/2/3"),
        ("PRESENCE_TRUSTED_PROXIES", "-1"),
        ("PRESENCE_SHARDS", "0"),
        ("PRESENCE_SHARDS", "257"),
        ("PRESENCE_ALLOWED_ORIGINS", "chat.example.com"),
        ("PRESENCE_ALLOWED_ORIGINS", "https://chat.example.com/path"),
        ("PRESENCE_ALLOWED_ORIGINS", "*"),
        ("PRESENCE_ALLOWED_ORIGINS", "https://*.example.com"),
        ("PRESENCE_ALLOWED_ORIGINS", "https://chat.example.com:abc"),
        ("PRESENCE_ALLOWED_ORIGINS", "https://chat.example.com:99999"),
        ("PRESENCE_ALLOWED_ORIGINS", "https://user@chat.example.com"),
        ("PRESENCE_ALLOWED_ORIGINS", "https://[::1"),
        ("PRESENCE_HEARTBEAT_INTERVAL", "20s"),
        ("PRESENCE_HEARTBEAT_INTERVAL", "0"),
        ("PRESENCE_ONLINE_TTL", "-1"),
        ("PRESENCE_ONLINE_TTL", "nan"),
        ("PRESENCE_SWEEP_INTERVAL", "0.0001"),
        ("PRESENCE_OFFLINE_TTL", "inf"),
        ("PRESENCE_OFFLINE_TTL", "1e17"),
        ("PRESENCE_DISCONNECT_GRACE", "-0.1"),
        ("PRESENCE_SWEEP_INTERVAL", "0"),
        ("PRESENCE_GATEWAY_TTL", "soon"),
        ("PRESENCE_DRAIN_WINDOW", "-1"),
        ("PRESENCE_MAX_CONNECTIONS_PER_USER", "0"),
        ("PRESENCE_MAX_FRAME_BYTES", "63"),
        ("PRESENCE_MAX_QUEUED_BYTES", "10"),
        ("PRESENCE_MAX_FRAMES_PER_SECOND", "0"),
        ("PRESENCE_HANDSHAKE_TIMEOUT", "0"),
        ("PRESENCE_REDIS_MAX_CONNECTIONS", "1"),
        ("PRESENCE_REDIS_TLS_VERIFY", "maybe"),
        ("PRESENCE_DEMO", "2"),
        ("WEB_CONCURRENCY", "1.5"),
        ("PRESENCE_WORKER_CONNECTIONS", "many"),
        ("PORT", "0"),
        ("PORT", "65536"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line_that_names_it(variable, text):
    line = refusal(**{variable: text})
    assert line.startswith(f"{variable}=")
    assert ": takes " in line
    assert "\n" not in line


def test_what_a_short_ttl_leaves_no_room_for_is_shorter_too():
    values = settings(PRESENCE_ONLINE_TTL="1", PRESENCE_OFFLINE_TTL="0.5")
    assert values.heartbeat_interval == pytest.approx(1 / 3)
    assert values.disconnect_grace == 0.5
    assert values.gateway_ttl == 1
    assert values.breaker_hold == 0.5
    assert settings(PRESENCE_ONLINE_TTL="2", PRESENCE_HEARTBEAT_INTERVAL="1")


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        (
            {"PRESENCE_HEARTBEAT_INTERVAL": "31"},
            {"PRESENCE_HEARTBEAT_INTERVAL", "PRESENCE_ONLINE_TTL"},
        ),
        (
            {"PRESENCE_DISCONNECT_GRACE": "61"},
            {"PRESENCE_DISCONNECT_GRACE", "PRESENCE_ONLINE_TTL"},
        ),
        (
            {"PRESENCE_GATEWAY_TTL": "61"},
            {"PRESENCE_GATEWAY_TTL", "PRESENCE_ONLINE_TTL"},
        ),
    ],
)
def test_values_at_odds_with_each_other_are_both_named(environ, named):
    line = refusal(**environ)
    assert all(name in line for name in named)
    assert "\n" not in line


def test_three_heartbeats_just_fit():
    values = settings(PRESENCE_HEARTBEAT_INTERVAL="1", PRESENCE_ONLINE_TTL="3")
    assert values.heartbeat_interval * 3 == values.online_ttl


def test_a_short_online_ttl_shortens_the_gateway_ttl_with_it():
    values = settings(PRESENCE_ONLINE_TTL="3", PRESENCE_HEARTBEAT_INTERVAL="1")
    assert values.gateway_ttl == 3


def test_heartbeats_are_flushed_each_second_or_faster_where_the_ttl_is_short():
    assert settings().flush_interval == 1
    short = settings(PRESENCE_ONLINE_TTL="3", PRESENCE_HEARTBEAT_INTERVAL="1")
    assert short.flush_interval == pytest.approx(0.3)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgres_urls_get_the_driver(scheme):
    url = settings(DATABASE_URL=f"{scheme}://u:p@h:5432/d?sslmode=require").database_url
    assert url == "postgresql+psycopg://u:p@h:5432/d?sslmode=require"


def test_the_broker_is_redis_unless_named():
    values = settings(REDIS_URL="redis://r:1/1")
    assert values.broker_url == "redis://r:1/1"
    both = settings(REDIS_URL="redis://r:1/1", CELERY_BROKER_URL="redis://b:2/2")
    assert (both.redis_url, both.broker_url) == ("redis://r:1/1", "redis://b:2/2")


def test_sentinels_are_celerys_too():
    url = "redis+sentinel://u:p%40@h:1,i/group/2?sentinel_password=s"
    values = settings(REDIS_URL=url)
    assert values.broker_url == url
    parsed = redis_url.RedisUrl.parse(url)
    assert parsed.hosts == (("h", 1), ("i", 26379))
    assert (parsed.username, parsed.password, parsed.db) == ("u", "p@", 2)
    assert (parsed.group, parsed.sentinel_password) == ("group", "s")
    assert parsed.for_celery() == "sentinel://u:p%40@h:1/2;sentinel://u:p%40@i:26379/2"
    assert "p@" not in repr(parsed)


def test_a_cluster_needs_a_broker_and_shards():
    cluster = {"REDIS_URL": "rediss+cluster://h:1,[::1]:2"}
    assert refusal(**cluster).startswith("CELERY_BROKER_URL: Celery cannot use")
    both = {**cluster, "CELERY_BROKER_URL": "redis://b"}
    assert refusal(**both).startswith("PRESENCE_SHARDS=1: a Redis Cluster takes 2")
    values = settings(**both, PRESENCE_SHARDS="2")
    parsed = redis_url.RedisUrl.parse(values.redis_url)
    assert (parsed.hosts, parsed.tls) == ((("h", 1), ("::1", 2)), True)


def test_the_token_secret_falls_back_to_the_secret_key():
    assert Settings.from_env({"SECRET_KEY": "k" * 32}).jwt_secret == "k" * 32
    both = Settings.from_env({"SECRET_KEY": "k" * 32, **NEEDED})
    assert both.jwt_secret == NEEDED["PRESENCE_JWT_SECRET"]


def test_without_any_secret_there_is_no_start():
    with pytest.raises(SettingsError, match=r"^PRESENCE_JWT_SECRET is not set"):
        Settings.from_env({"PRESENCE_JWT_SECRET": " ", "SECRET_KEY": ""})


WEAK = rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused
OTHER_CURVE = ec.generate_private_key(ec.SECP384R1())
JWKS = "https://login.example.com/.well-known/jwks.json"


def test_public_keys_take_the_place_of_the_secret():
    found = Settings.from_env({"PRESENCE_JWKS_URL": JWKS, "SECRET_KEY": "k" * 32})
    assert (found.jwks_url, found.jwt_secret, found.jwt_secrets) == (JWKS, "", ())
    for algorithm in PUBLIC:
        pem = public_pem(algorithm)
        found = Settings.from_env({"PRESENCE_JWT_PUBLIC_KEY": pem})
        assert (found.jwt_public_key, found.jwt_secrets) == (pem.strip(), ())


def test_several_secrets():
    both = Settings.from_env({"PRESENCE_JWT_SECRET": f"{'n' * 32}, {'o' * 32},"})
    assert both.jwt_secrets == ("n" * 32, "o" * 32)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {**NEEDED, "PRESENCE_JWKS_URL": JWKS},
            "PRESENCE_JWT_SECRET and PRESENCE_JW",
        ),
        (
            {**NEEDED, "PRESENCE_JWT_PUBLIC_KEY": "x"},
            "PRESENCE_JWT_SECRET and PRESENCE_JWT_PUBLIC_KEY are both set",
        ),
        (
            {"PRESENCE_JWKS_URL": JWKS, "PRESENCE_JWT_PUBLIC_KEY": "x"},
            "PRESENCE_JWKS_URL and PRESENCE_JWT_PUBLIC_KEY are both set",
        ),
        (
            {"PRESENCE_JWKS_URL": "login.example.com"},
            "PRESENCE_JWKS_URL=…: takes a URL",
        ),
        ({"PRESENCE_JWKS_URL": "file:///etc/x"}, "PRESENCE_JWKS_URL=file://…: takes"),
        ({"PRESENCE_JWKS_URL": "https://h:x/"}, "PRESENCE_JWKS_URL=https://…: takes"),
        ({"PRESENCE_JWKS_URL": "https://[h/"}, "PRESENCE_JWKS_URL=https://…: takes"),
        (
            {"PRESENCE_JWT_PUBLIC_KEY": "x"},
            "PRESENCE_JWT_PUBLIC_KEY: takes a public key",
        ),
        (
            {"PRESENCE_JWT_PUBLIC_KEY": pem_of(WEAK)},
            "PRESENCE_JWT_PUBLIC_KEY: takes a public key for RS256",
        ),
        (
            {
                "PRESENCE_JWT_PUBLIC_KEY": pem_of(
                    ec.generate_private_key(ec.SECP384R1())
                )
            },
            "PRESENCE_JWT_PUBLIC_KEY: takes a public key for RS256",
        ),
        (
            {"PRESENCE_JWKS_URL": JWKS, "PRESENCE_DEMO": "1"},
            "PRESENCE_DEMO=1: the demo signs tokens",
        ),
    ],
)
def test_a_wrong_way_to_verify_tokens_is_named(environ, message):
    with pytest.raises(SettingsError, match="^" + re.escape(message)) as error:
        Settings.from_env(environ)
    assert "\n" not in str(error.value)


def test_a_private_key_is_refused_and_not_shown():
    pem = (
        private_key(ES256)
        .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        .decode()
    )
    with pytest.raises(SettingsError, match="is a private key") as error:
        Settings.from_env({"PRESENCE_JWT_PUBLIC_KEY": pem})
    assert "BEGIN" not in str(error.value)


@pytest.mark.parametrize("variable", ["DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL"])
@pytest.mark.parametrize("text", ["ftp://user:hunter2@host/0", "user:hunter2@host"])
def test_a_password_in_a_wrong_url_is_not_shown(variable, text):
    assert "hunter2" not in refusal(**{variable: text})


def test_secrets_and_passwords_are_not_in_the_representation():
    shown = repr(
        settings(
            PRESENCE_JWT_SECRET="jwt-hunter2" * 3,
            PRESENCE_SERVICE_KEY="key-hunter2" * 3,
            DATABASE_URL="postgres://u:hunter2@h/d",
            REDIS_URL="redis://:hunter2@h",
        )
    )
    assert "hunter2" not in shown


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"PRESENCE_JWT_SECRET": "hunter2" + "j" * 24}, "PRESENCE_JWT_SECRET"),
        ({"PRESENCE_JWT_SECRET": "", "SECRET_KEY": "hunter2"}, "SECRET_KEY"),
        ({"PRESENCE_SERVICE_KEY": "hunter2" + "k" * 24}, "PRESENCE_SERVICE_KEY"),
    ],
)
def test_a_short_secret_is_refused_unless_that_is_allowed(environ, name):
    message = refusal(**environ)
    assert message.startswith(f"{name} has only ")
    assert "openssl rand -hex 32" in message
    assert "hunter2" not in message
    assert settings(**environ, PRESENCE_INSECURE="1").insecure is True


@pytest.mark.parametrize("secrets", ["{key}", "{other},{key}", "{key},{other}"])
def test_one_secret_must_not_open_two_doors(secrets):
    key, other = "hunter2" + "k" * 25, "o" * 32
    environ = {
        "PRESENCE_JWT_SECRET": secrets.format(key=key, other=other),
        "PRESENCE_SERVICE_KEY": key,
    }
    message = refusal(**environ)
    assert message.startswith("PRESENCE_SERVICE_KEY is also a secret of the tokens")
    assert "hunter2" not in message
    assert settings(**environ, PRESENCE_INSECURE="1").service_key == key


def test_without_a_secret_of_tokens_only_the_service_key_counts():
    with_public_key = {"PRESENCE_JWT_PUBLIC_KEY": public_pem(ES256)}
    Settings.from_env({**with_public_key, "PRESENCE_SERVICE_KEY": "k" * 32})
    with pytest.raises(SettingsError, match=r"^PRESENCE_SERVICE_KEY has only 3 "):
        Settings.from_env({**with_public_key, "PRESENCE_SERVICE_KEY": "key"})


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings().port = 1


def test_an_entry_point_ends_with_the_line_and_without_a_traceback():
    done = subprocess.run(
        [sys.executable, "-c", "import config; config.settings_or_exit()"],
        cwd=PROJECT_ROOT,
        env={**os.environ, **NEEDED, "PRESENCE_ONLINE_TTL": "x"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr == (
        "greendot: PRESENCE_ONLINE_TTL=x: takes a number of seconds\n"
    )


def test_webhook_urls():
    both = settings(
        PRESENCE_WEBHOOK_URLS="https://a.example/x?y=1%2C2, http://10.0.0.1:81,",
        PRESENCE_WEBHOOK_SECRETS=WEBHOOK_SECRET,
    )
    assert both.webhook_urls == ("https://a.example/x?y=1%2C2", "http://10.0.0.1:81")
    assert WEBHOOK_SECRET not in repr(both)
    assert "a.example" not in repr(both)


OPERATORS = {
    "PRESENCE_ADMIN_HEADER": "X-Forwarded-User",
    "PRESENCE_ADMIN_PROXIES": "10.0.0.5, 10.1.0.0/16,::1",
    "PRESENCE_SERVICE_KEY": "k" * 32,
}


def test_the_header_of_operators_comes_from_known_addresses():
    found = settings(**OPERATORS)
    assert found.admin_header == "X-Forwarded-User"
    proxies = [str(one) for one in found.admin_proxies]
    assert proxies == ["10.0.0.5/32", "10.1.0.0/16", "::1/128"]


@pytest.mark.parametrize("missing", OPERATORS)
def test_the_header_of_operators_works_only_with_all_it_needs(missing):
    why = refusal(**{**OPERATORS, missing: ""})
    assert why.startswith(f"{missing} is not set: PRESENCE_ADMIN_")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PRESENCE_ADMIN_HEADER", "X Forwarded"),
        ("PRESENCE_ADMIN_HEADER", "X_Forwarded_User"),
        ("PRESENCE_ADMIN_PROXIES", "proxy.example.com"),
        ("PRESENCE_ADMIN_PROXIES", "10.1.0.5/16"),
    ],
)
def test_a_wrong_header_or_proxy_of_operators_is_refused(name, value):
    assert refusal(**{**OPERATORS, name: value}).startswith(f"{name}=")


def test_webhook_urls_need_a_secret():
    why = refusal(PRESENCE_WEBHOOK_URLS="https://a.example")
    assert why.startswith("PRESENCE_WEBHOOK_SECRETS is not set")
    assert "whsec_" in why


@pytest.mark.parametrize(
    "url",
    [
        "a.example",
        "ftp://a.example",
        "https://",
        "https:///path",
        "https://a.example:x",
        "https://a.example:99999",
        "https://user:hunter2@a.example",
        "https://a.example/#part",
        "https://a.example/a b",
        "https://[::1",
        "https://a.example,https://a.example",
    ],
)
def test_a_webhook_url_that_cannot_be_is_refused_without_being_shown(url):
    why = refusal(PRESENCE_WEBHOOK_URLS=url, PRESENCE_WEBHOOK_SECRETS=WEBHOOK_SECRET)
    assert why.startswith("PRESENCE_WEBHOOK_URLS=")
    assert "hunter2" not in why
    assert "\n" not in why


@pytest.mark.parametrize(
    "secret",
    ["A" * 32, "whsec_", "whsec_" + "A" * 28, "whsec_" + "A" * 92, "whsec_" + "!" * 32],
)
def test_a_webhook_secret_that_cannot_be_is_refused_without_being_shown(secret):
    why = refusal(PRESENCE_WEBHOOK_SECRETS=secret)
    assert why == (
        "PRESENCE_WEBHOOK_SECRETS=…: takes secrets that are whsec_ and 24 to 64 bytes "
        "in base64, separated by commas"
    )
