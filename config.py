"""Every setting of Greendot, read once from the environment and validated at start.

The settings are one frozen dataclass, whose values have been checked one by one and
together. A wrong value raises `SettingsError` with one line that names the variable and
says what it takes. Times are seconds and may be fractional.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeVar
from urllib.parse import urlsplit

import database_url
import redis_url
import url_options

PROJECT_ROOT = Path(__file__).resolve().parent
DEFAULT_DATABASE_URL = f"sqlite:///{PROJECT_ROOT / 'var' / 'greendot.db'}"
DEFAULT_REDIS_URL = "redis://127.0.0.1:6379/0"

HEARTBEATS_PER_TTL = 3
"""By default this many heartbeats fit into the TTL, so that a connection survives two
lost heartbeats. Zulip and Phoenix have the same rule for their intervals."""
LEAST_HEARTBEATS_PER_TTL = 2
"""At least this many heartbeats must fit into the TTL, so that a connection survives
one lost heartbeat."""

MAX_SHARDS = 256
"""There is a limit, because each shard has its own loops in every gateway, and its own
tasks."""

MAX_SESSION_DAYS = 36_500
"""A hundred years."""

WEBHOOK_SECRET = "whsec_"  # noqa: S105 - the beginning of all
"""How a webhook secret begins. The rest is its bytes in base64."""
_SECRET_BYTES = (24, 64)

MAX_LIMIT = 10_000_000
"""The most calls of a limit."""
PUBLIC_KEYS = ("PRESENCE_JWKS_URL", "PRESENCE_JWT_PUBLIC_KEY")
"""The settings that take the place of a secret."""
LEAST_SECRET_LENGTH = 32
"""Characters of a secret. RFC 7518, section 3.2, asks for 32 bytes with HS256."""
INSECURE = "PRESENCE_INSECURE"
"""The setting that allows what is good enough for a trial only."""

LOG_FORMATS = ("text", "json")
LOG_LEVELS = ("debug", "info", "warning", "error")
EXTRA_PACKAGES = "requirements-otel.txt"
"""The file with the packages that traces and error reports need."""
_OTLP_PROTOCOLS = ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")

LEAST_SECONDS = 0.01
"""Redis counts whole milliseconds, and with shorter waits our loops would use the
processor all the time."""
MAX_SECONDS = 1e9
"""About thirty years."""

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off", ""})
_REDIS_SCHEMES = redis_url.SERVER | redis_url.SENTINEL | redis_url.CLUSTER
_BROKER_SCHEMES = redis_url.SERVER | redis_url.SENTINEL | {"amqp", "amqps"}
_ORIGIN = re.compile(r"(https?)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]+))?")

_TAKES_WEBHOOK_URLS = (
    "URLs like https://example.com/path, separated by commas, without a user, a "
    "password or a fragment. Write a comma in a URL as %2C"
)
_HEADER = re.compile(r"[A-Za-z0-9-]+")
_PRINTABLE = re.compile(r"[!-~]+")

Network = IPv4Network | IPv6Network
Number = TypeVar("Number", int, float)


class SettingsError(ValueError):
    """A setting has a value that Greendot cannot run with."""


class Limit(NamedTuple):
    """At most so many calls in so many seconds."""

    most: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of one process. Times are seconds, sizes are bytes."""

    database_url: str = field(repr=False)
    """SQLAlchemy URL that names the driver (`DATABASE_URL`)."""
    redis_url: str = field(repr=False)
    """The Redis with the presence state (`REDIS_URL`)."""
    broker_url: str = field(repr=False)
    """The broker of Celery's messages (`CELERY_BROKER_URL`)."""
    jwt_secret: str = field(repr=False)
    """HS256 secrets of the tokens, separated by commas (`PRESENCE_JWT_SECRET`, or else
    `SECRET_KEY`). Empty if public keys verify the tokens. See `jwt_secrets`."""
    service_key: str | None = field(repr=False)
    """Bearer key of the admin routes. None closes them (`PRESENCE_SERVICE_KEY`)."""
    jwks_url: str | None = None
    """Where the public keys of the tokens are (`PRESENCE_JWKS_URL`)."""
    jwt_public_key: str | None = None
    """The public key of the tokens, as PEM (`PRESENCE_JWT_PUBLIC_KEY`)."""
    jwt_audience: str | None = None
    """The `aud` that every token must have (`PRESENCE_JWT_AUDIENCE`)."""
    jwt_issuer: str | None = None
    """The `iss` that every token must have (`PRESENCE_JWT_ISSUER`)."""
    allowed_origins: tuple[str, ...] = ()
    """Other origins that may use cookies and CORS (`PRESENCE_ALLOWED_ORIGINS`)."""
    heartbeat_interval: float = 20.0
    """Time between two heartbeats of a client (`PRESENCE_HEARTBEAT_INTERVAL`)."""
    online_ttl: float = 60.0
    """Silence after which a connection counts as closed (`PRESENCE_ONLINE_TTL`)."""
    offline_ttl: float = 86400.0
    """Time for which an offline user's status is kept (`PRESENCE_OFFLINE_TTL`)."""
    disconnect_grace: float = 3.0
    """Time for which a closed connection still counts (`PRESENCE_DISCONNECT_GRACE`)."""
    sweep_interval: float = 5.0
    """Time between two sweeps, which expire users (`PRESENCE_SWEEP_INTERVAL`)."""
    gateway_ttl: float = 15.0
    """Silence after which a gateway process counts as dead (`PRESENCE_GATEWAY_TTL`)."""
    drain_window: float = 10.0
    """Time in which a stopping gateway closes its sockets (`PRESENCE_DRAIN_WINDOW`)."""
    breaker_share: float = 0.5
    """If a sweep would expire at least this share of all online users, it may wait
    first (`PRESENCE_BREAKER_SHARE`). See *The breaker* in docs/CONFIGURE.md."""
    breaker_count: int = 100
    """The same for at least this number of users (`PRESENCE_BREAKER_COUNT`). A sweep
    may wait only if it reaches both limits."""
    breaker_hold: float = 5.0
    """How long such a sweep waits (`PRESENCE_BREAKER_HOLD`). After an outage of Redis,
    gateways need up to 2 s to register their users again."""
    max_connections_per_user: int = 100
    """The most open connections of one user (`PRESENCE_MAX_CONNECTIONS_PER_USER`)."""
    max_frame_bytes: int = 4096
    """Largest message that a client may send (`PRESENCE_MAX_FRAME_BYTES`)."""
    max_queued_bytes: int = 262144
    """The most bytes queued for one slow socket (`PRESENCE_MAX_QUEUED_BYTES`)."""
    max_frames_per_second: float = 20.0
    """Frames a client may send per second (`PRESENCE_MAX_FRAMES_PER_SECOND`)."""
    shards: int = 1
    """Number of shards of the presence state (`PRESENCE_SHARDS`)."""
    handshake_timeout: float = 10.0
    """Time that a client has for each step of an HTTP request or a handshake
    (`PRESENCE_HANDSHAKE_TIMEOUT`)."""
    redis_max_connections: int = 16
    """The most Redis connections of one process for the presence state
    (`PRESENCE_REDIS_MAX_CONNECTIONS`)."""
    redis_tls_verify: bool = True
    """Check the certificate of a `rediss://` server (`PRESENCE_REDIS_TLS_VERIFY`)."""
    allow_invisible: bool = True
    """Users may hide from others (`PRESENCE_ALLOW_INVISIBLE`)."""
    idle_after: float = 300.0
    """Time without input after which the browser client reports its user as idle
    (`PRESENCE_IDLE_AFTER`)."""
    session_days: int = 0
    """Days for which the sessions of users are kept. 0: none are kept
    (`PRESENCE_SESSION_DAYS`)."""
    webhook_urls: tuple[str, ...] = field(default=(), repr=False)
    """Where the host hears of changes (`PRESENCE_WEBHOOK_URLS`)."""
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)
    """Each of them signs every webhook (`PRESENCE_WEBHOOK_SECRETS`)."""
    webhook_allow_private: bool = False
    """Webhooks may go to private addresses (`PRESENCE_WEBHOOK_ALLOW_PRIVATE`)."""
    limit_rest: Limit | None = None
    """REST calls of one user (`PRESENCE_LIMIT_REST`)."""
    limit_handshakes_user: Limit | None = None
    """WebSocket handshakes of one user (`PRESENCE_LIMIT_HANDSHAKES_USER`)."""
    limit_handshakes_address: Limit | None = None
    """WebSocket handshakes of one address (`PRESENCE_LIMIT_HANDSHAKES_ADDRESS`)."""
    limit_tickets: Limit | None = None
    """Tickets of one user (`PRESENCE_LIMIT_TICKETS`)."""
    trusted_proxies: int = 0
    """Proxies in front whose `X-Forwarded-For` is believed
    (`PRESENCE_TRUSTED_PROXIES`)."""
    admin_header: str | None = None
    """The header in which a proxy names the operator (`PRESENCE_ADMIN_HEADER`)."""
    admin_proxies: tuple[Network, ...] = ()
    """Where this header is believed from (`PRESENCE_ADMIN_PROXIES`)."""
    demo: bool = False
    """Demo users and one-click sign-in (`PRESENCE_DEMO`)."""
    insecure: bool = False
    """Start with weak secrets, and with a demo that others can reach
    (`PRESENCE_INSECURE`)."""
    web_concurrency: int = 1
    """Gateway processes of one web server (`WEB_CONCURRENCY`)."""
    worker_connections: int = 10000
    """The most WebSockets of one gateway process (`PRESENCE_WORKER_CONNECTIONS`)."""
    port: int = 8000
    """The port of the web process (`PORT`)."""
    log_format: str = "text"
    """The form of the log lines, `text` or `json` (`LOG_FORMAT`)."""
    log_level: str = "INFO"
    """The least level of Greendot's own log lines (`LOG_LEVEL`)."""
    otel_exporter_otlp_endpoint: str | None = field(default=None, repr=False)
    """Where to send traces (`OTEL_EXPORTER_OTLP_ENDPOINT`). OpenTelemetry's library
    reads this setting itself, and all others of its own."""
    sentry_dsn: str | None = field(default=None, repr=False)
    """Where to send error reports (`SENTRY_DSN`)."""

    @property
    def jwt_secrets(self) -> tuple[str, ...]:
        """The HS256 secrets. All of them verify tokens, and the first one signs.

        If a part between commas is short, the whole value is one secret: it was
        chosen before commas had a meaning, and anybody could guess its short part.
        """
        listed = _listed(self.jwt_secret)
        if min(map(len, listed), default=0) >= LEAST_SECRET_LENGTH:
            return listed
        return (self.jwt_secret,) if self.jwt_secret else ()

    @property
    def flush_interval(self) -> float:
        """Seconds between two flushes of a gateway's heartbeats. It is 1 s, or less if
        a TTL is so short that a delay of 1 s matters."""
        return min(1.0, self.online_ttl / 10, self.gateway_ttl / 10)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings from `environ` (default: the process's environment).

        Raises:
            SettingsError: a value is missing, malformed or contradicts another. The
                message is one line that names the variable and what it takes.
        """
        env = _Reader(os.environ if environ is None else environ)
        state_url = env.url("REDIS_URL", DEFAULT_REDIS_URL, _REDIS_SCHEMES)
        broker_url = env.url("CELERY_BROKER_URL", state_url, _BROKER_SCHEMES)
        online_ttl = env.seconds("PRESENCE_ONLINE_TTL", 60.0)
        settings = cls(
            database_url=env.database_url("DATABASE_URL", DEFAULT_DATABASE_URL),
            redis_url=state_url,
            broker_url=broker_url,
            jwt_secret=env.jwt_secret(),
            service_key=env.secret("PRESENCE_SERVICE_KEY"),
            jwks_url=env.jwks_url("PRESENCE_JWKS_URL"),
            jwt_public_key=env.public_key("PRESENCE_JWT_PUBLIC_KEY"),
            jwt_audience=env.text("PRESENCE_JWT_AUDIENCE"),
            jwt_issuer=env.text("PRESENCE_JWT_ISSUER"),
            allowed_origins=env.origins("PRESENCE_ALLOWED_ORIGINS"),
            heartbeat_interval=env.seconds(
                "PRESENCE_HEARTBEAT_INTERVAL",
                min(20.0, online_ttl / HEARTBEATS_PER_TTL),
            ),
            online_ttl=online_ttl,
            offline_ttl=env.seconds("PRESENCE_OFFLINE_TTL", 86400.0),
            disconnect_grace=env.seconds(
                "PRESENCE_DISCONNECT_GRACE", min(3.0, online_ttl / 2), least=0.0
            ),
            sweep_interval=env.seconds("PRESENCE_SWEEP_INTERVAL", 5.0),
            gateway_ttl=env.seconds("PRESENCE_GATEWAY_TTL", min(15.0, online_ttl)),
            drain_window=env.seconds("PRESENCE_DRAIN_WINDOW", 10.0, least=0.0),
            breaker_share=env.number("PRESENCE_BREAKER_SHARE", 0.5),
            breaker_count=env.count("PRESENCE_BREAKER_COUNT", 100),
            breaker_hold=env.seconds(
                "PRESENCE_BREAKER_HOLD", min(5.0, online_ttl / 2), least=0.0
            ),
            max_connections_per_user=env.count(
                "PRESENCE_MAX_CONNECTIONS_PER_USER", 100
            ),
            max_frame_bytes=env.count("PRESENCE_MAX_FRAME_BYTES", 4096, least=64),
            max_queued_bytes=env.count("PRESENCE_MAX_QUEUED_BYTES", 262144, least=4096),
            max_frames_per_second=env.number("PRESENCE_MAX_FRAMES_PER_SECOND", 20.0),
            shards=env.count("PRESENCE_SHARDS", 1, most=MAX_SHARDS),
            handshake_timeout=env.seconds("PRESENCE_HANDSHAKE_TIMEOUT", 10.0),
            redis_max_connections=env.count(
                "PRESENCE_REDIS_MAX_CONNECTIONS", 16, least=2
            ),
            redis_tls_verify=env.flag("PRESENCE_REDIS_TLS_VERIFY", default=True),
            allow_invisible=env.flag("PRESENCE_ALLOW_INVISIBLE", default=True),
            idle_after=env.seconds("PRESENCE_IDLE_AFTER", 300.0),
            session_days=env.count(
                "PRESENCE_SESSION_DAYS", 0, least=0, most=MAX_SESSION_DAYS
            ),
            webhook_urls=env.webhook_urls("PRESENCE_WEBHOOK_URLS"),
            webhook_secrets=env.webhook_secrets("PRESENCE_WEBHOOK_SECRETS"),
            webhook_allow_private=env.flag(
                "PRESENCE_WEBHOOK_ALLOW_PRIVATE", default=False
            ),
            limit_rest=env.limit("PRESENCE_LIMIT_REST"),
            limit_handshakes_user=env.limit("PRESENCE_LIMIT_HANDSHAKES_USER"),
            limit_handshakes_address=env.limit("PRESENCE_LIMIT_HANDSHAKES_ADDRESS"),
            limit_tickets=env.limit("PRESENCE_LIMIT_TICKETS"),
            trusted_proxies=env.count("PRESENCE_TRUSTED_PROXIES", 0, least=0, most=20),
            admin_header=env.header("PRESENCE_ADMIN_HEADER"),
            admin_proxies=env.networks("PRESENCE_ADMIN_PROXIES"),
            demo=env.flag("PRESENCE_DEMO", default=False),
            insecure=env.flag(INSECURE, default=False),
            web_concurrency=env.count("WEB_CONCURRENCY", 1),
            worker_connections=env.count("PRESENCE_WORKER_CONNECTIONS", 10000),
            port=env.count("PORT", 8000, most=65535),
            log_format=env.choice("LOG_FORMAT", LOG_FORMATS) or "text",
            log_level=(env.choice("LOG_LEVEL", LOG_LEVELS) or "info").upper(),
            otel_exporter_otlp_endpoint=env.otlp("OTEL_EXPORTER_OTLP_ENDPOINT"),
            sentry_dsn=env.sentry_dsn("SENTRY_DSN"),
        )
        settings._cross_check()
        settings._check_operators()
        return settings

    def _cross_check(self) -> None:
        if self.demo and not self.jwt_secret:
            message = (
                "PRESENCE_DEMO=1: the demo signs tokens, so it takes "
                "PRESENCE_JWT_SECRET, and no public keys"
            )
            raise SettingsError(message)
        fitting = self.online_ttl / LEAST_HEARTBEATS_PER_TTL
        if self.heartbeat_interval > fitting:
            message = (
                f"PRESENCE_HEARTBEAT_INTERVAL={self.heartbeat_interval:g}: must be at "
                f"most half of PRESENCE_ONLINE_TTL={self.online_ttl:g}, so that a "
                f"connection survives a lost heartbeat"
            )
            raise SettingsError(message)
        if self.heartbeat_interval * self.max_frames_per_second < 1:
            message = (
                f"PRESENCE_MAX_FRAMES_PER_SECOND={self.max_frames_per_second:g}: must "
                f"leave room for a heartbeat every PRESENCE_HEARTBEAT_INTERVAL="
                f"{self.heartbeat_interval:g} seconds"
            )
            raise SettingsError(message)
        if self.disconnect_grace > self.online_ttl:
            message = (
                f"PRESENCE_DISCONNECT_GRACE={self.disconnect_grace:g}: must not be "
                f"longer than PRESENCE_ONLINE_TTL={self.online_ttl:g}"
            )
            raise SettingsError(message)
        if self.gateway_ttl > self.online_ttl:
            message = (
                f"PRESENCE_GATEWAY_TTL={self.gateway_ttl:g}: must not be longer than "
                f"PRESENCE_ONLINE_TTL={self.online_ttl:g}"
            )
            raise SettingsError(message)
        if self.webhook_urls and not self.webhook_secrets:
            message = (
                "PRESENCE_WEBHOOK_SECRETS is not set: PRESENCE_WEBHOOK_URLS needs at "
                "least one secret, such as the output of: "
                f'echo "{WEBHOOK_SECRET}$(openssl rand -base64 32)"'
            )
            raise SettingsError(message)
        if (
            redis_url.scheme_of(self.redis_url) in redis_url.CLUSTER
            and self.shards == 1
        ):
            message = (
                "PRESENCE_SHARDS=1: a Redis Cluster takes 2 or more. Use several "
                "shards per primary: one shard is always on one primary"
            )
            raise SettingsError(message)
        if self.service_key in self.jwt_secrets and not self.insecure:
            message = (
                "PRESENCE_SERVICE_KEY is also a secret of the tokens: use another "
                "value, so that each of them opens one door only. For a trial, "
                f"{INSECURE}=1 allows it"
            )
            raise SettingsError(message)

    def _check_operators(self) -> None:
        """The header of a proxy opens the operators' page. So it must come from known
        addresses, and the page must be there."""
        header, proxies = "PRESENCE_ADMIN_HEADER", "PRESENCE_ADMIN_PROXIES"
        needed = {
            header: self.admin_header,
            proxies: self.admin_proxies,
            "PRESENCE_SERVICE_KEY": self.service_key,
        }
        if not self.admin_header and not self.admin_proxies:
            return
        for missing in (name for name, value in needed.items() if not value):
            name = header if self.admin_header else proxies
            message = f"{missing} is not set: {name} works only together with it"
            raise SettingsError(message)


def settings_or_exit() -> Settings:
    """`Settings.from_env()` for an entry point: a wrong setting ends the process.

    It prints one line to stderr, without a traceback, and exits with code 3. If a
    worker exits with this code, gunicorn does not start another one.
    """
    try:
        return Settings.from_env()
    except SettingsError as error:
        refuse_to_start(error)


def refuse_to_start(reason: object) -> NoReturn:
    """End the process as `settings_or_exit` does."""
    line = f"greendot: {reason}"
    if os.environ.get("LOG_FORMAT", "").strip().lower() == "json":
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"timestamp": now, "level": "critical", "event": line})
    print(line, file=sys.stderr)  # noqa: T201  no logging yet
    sys.exit(3)


def _listed(value: str) -> tuple[str, ...]:
    """The items of a list that is separated by commas."""
    return tuple(one for part in value.split(",") if (one := part.strip()))


class _Reader:
    """Typed access to an environment. Every error names its variable."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str) -> str | None:
        return self._environ.get(name, "").strip() or None

    def secret(self, name: str) -> str | None:
        """A text that nobody can guess."""
        value = self.text(name)
        if value is None or len(value) >= LEAST_SECRET_LENGTH:
            return value
        if self.flag(INSECURE, default=False):
            return value
        message = (
            f"{name} has only {len(value)} characters: use {LEAST_SECRET_LENGTH} or "
            f"more, such as the output of `openssl rand -hex 32`. For a trial, "
            f"{INSECURE}=1 allows it"
        )
        raise SettingsError(message)

    def jwt_secret(self) -> str:
        """The HS256 secrets, or an empty text if public keys verify the tokens."""
        name, fallback = "PRESENCE_JWT_SECRET", "SECRET_KEY"
        given = [one for one in (name, *PUBLIC_KEYS) if self.text(one)]
        if len(given) > 1:
            message = (
                f"{given[0]} and {given[1]} are both set: set one of them, because "
                f"all tokens are verified in the same way"
            )
            raise SettingsError(message)
        if given and given[0] != name:
            return ""
        value = self.secret(name) or self.secret(fallback)
        if value is None:
            message = (
                f"{name} is not set: it takes the secret that signs the users' tokens, "
                f"with 32 characters or more (or set {fallback}, or for public keys "
                f"{' or '.join(PUBLIC_KEYS)})"
            )
            raise SettingsError(message)
        return value

    def jwks_url(self, name: str) -> str | None:
        value = self.text(name)
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            is_usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
            is_usable = is_usable and self._has_port(value)
        except ValueError:
            is_usable = False
        if not is_usable:
            raise self._wrong(
                name, "a URL like https://login.example.com/.well-known/jwks.json"
            )
        return value

    def public_key(self, name: str) -> str | None:
        value = self.text(name)
        if value is None:
            return None
        # Some platforms cannot store line ends, so people write \\n instead.
        pem = value.replace("\\n", "\n")
        # Imported here: each process reads the settings, and cryptography takes 7 MB.
        import public_keys  # noqa: PLC0415

        try:
            public_keys.public_key(pem)
        except ValueError as error:
            message = f"{name}: {error}"  # without the value: it may be a private key
            raise SettingsError(message) from None
        return pem

    def seconds(self, name: str, default: float, least: float = LEAST_SECONDS) -> float:
        value = self._number(name, default, float, "a number of seconds")
        if not least <= value <= MAX_SECONDS:
            raise self._wrong(
                name, f"a number of seconds from {least:g} to {MAX_SECONDS:g}"
            )
        return value

    def number(self, name: str, default: float) -> float:
        value = self._number(name, default, float, "a number")
        if not 0 < value < float("inf"):
            raise self._wrong(name, "a number greater than 0")
        return value

    def count(
        self, name: str, default: int, least: int = 1, most: int = 10_000_000
    ) -> int:
        value = self._number(name, default, int, "a whole number")
        if not least <= value <= most:
            raise self._wrong(name, f"a whole number from {least} to {most}")
        return value

    def limit(self, name: str) -> Limit | None:
        value = self.text(name)
        if value is None:
            return None
        try:
            most, seconds = value.split("/")
            limit = Limit(int(most), float(seconds))
        except ValueError:
            limit = Limit(0, 0)
        is_usable = 0 < limit.most <= MAX_LIMIT and 1 <= limit.seconds <= MAX_SECONDS
        if not is_usable:
            raise self._wrong(name, "how many calls in how many seconds, like 100/60")
        return limit

    def flag(self, name: str, *, default: bool) -> bool:
        value = self._environ.get(name)
        if value is None:
            return default
        if value.strip().lower() in _TRUE:
            return True
        if value.strip().lower() in _FALSE:
            return False
        raise self._wrong(name, "1 or 0")

    def choice(self, name: str, choices: tuple[str, ...]) -> str | None:
        """One of `choices`, in upper or lower case."""
        value = self.text(name)
        if value is not None and value.lower() not in choices:
            raise self._wrong(name, " or ".join(choices))
        return value and value.lower()

    def otlp(self, name: str) -> str | None:
        value = self.text(name)
        if value is None or self.flag("OTEL_SDK_DISABLED", default=False):
            return None
        if not self._is_http(value):
            raise self._wrong(name, "a URL like http://collector:4318")
        for protocol in _OTLP_PROTOCOLS:
            self.choice(protocol, ("http/protobuf",))
        self._needs(name, "opentelemetry.exporter.otlp.proto.http", "opentelemetry.sdk")
        return value

    def sentry_dsn(self, name: str) -> str | None:
        value = self.text(name)
        if value is None:
            return None
        if not self._is_http(value) or not urlsplit(value).username:
            raise self._wrong(name, "a DSN like https://KEY@sentry.example.com/1")
        self._needs(name, "sentry_sdk")
        return value

    def _is_http(self, url: str) -> bool:
        try:
            parts = urlsplit(url)
        except ValueError:
            return False
        is_http = parts.scheme in {"http", "https"} and bool(parts.hostname)
        return is_http and self._has_port(url)

    def _needs(self, name: str, *modules: str) -> None:
        """Check that `modules` are installed, without importing them: gunicorn's master
        must not import what opens sockets."""
        try:
            missing = [one for one in modules if find_spec(one) is None]
        except ImportError as error:  # a package above the module is missing
            missing = [error.name or modules[0]]
        if missing:
            message = (
                f"{name} is set, but {missing[0]} is not installed: run pip install "
                f"--require-hashes -r {EXTRA_PACKAGES}"
            )
            raise SettingsError(message)

    def url(self, name: str, default: str, schemes: frozenset[str]) -> str:
        value = self.text(name) or default
        scheme = redis_url.scheme_of(value)
        if scheme in redis_url.CLUSTER and scheme not in schemes:
            message = (
                f"{name}: Celery cannot use a Redis Cluster, so "
                f"it takes the URL of another server, redis:// or amqp:// for example"
            )
            raise SettingsError(message)
        if scheme not in schemes:
            takes = "a URL that starts with " + " or ".join(
                f"{scheme}://" for scheme in sorted(schemes)
            )
            raise self._wrong(name, takes)
        try:
            if scheme in _REDIS_SCHEMES:
                redis_url.RedisUrl.parse(value)
            else:
                self._check_amqp(value)
        except ValueError as error:
            raise self._refused(name, str(error)) from None
        return value

    @staticmethod
    def _check_amqp(urls: str) -> None:
        """Check each broker in `urls`. Celery uses the first broker that answers."""
        for url in urls.split(";"):
            scheme = redis_url.scheme_of(url)
            _, host, _, query = url_options.parts_of(url)
            url_options.options(query, {})
            try:
                if host:
                    url_options.host_and_port(host)
                if scheme not in {"amqp", "amqps"}:
                    raise ValueError  # noqa: TRY301 - all mistakes get the same message
            except ValueError:
                message = "takes a URL like amqp://user:password@host:5672/vhost"
                raise ValueError(message) from None

    def database_url(self, name: str, default: str) -> str:
        try:
            return database_url.normalised(self.text(name) or default)
        except ValueError as error:
            raise self._refused(name, str(error)) from None

    @staticmethod
    def _has_port(url: str) -> bool:
        """Whether the port of `url` is a number or missing."""
        try:
            _ = urlsplit(url).port
        except ValueError:
            return False
        return True

    def origins(self, name: str) -> tuple[str, ...]:
        value = self._environ.get(name, "")
        origins = (part.strip().rstrip("/") for part in value.split(","))
        return tuple(self._origin(name, origin) for origin in origins if origin)

    def _origin(self, name: str, origin: str) -> str:
        # An origin has the form that a browser sends: no path, no pattern, no user.
        found = _ORIGIN.fullmatch(origin.lower())
        if found is None or not self._has_port(origin):
            raise self._wrong(
                name, "origins like https://chat.example.com, separated by commas"
            )
        scheme, host, port = found.groups()
        # Browsers leave the scheme's default port out.
        is_default = port == {"http": "80", "https": "443"}[scheme]
        return f"{scheme}://{host}" + ("" if is_default or not port else f":{port}")

    def header(self, name: str) -> str | None:
        value = self.text(name)
        if value is not None and not _HEADER.fullmatch(value):
            raise self._wrong(name, "the name of a header, like X-Forwarded-User")
        return value

    def networks(self, name: str) -> tuple[Network, ...]:
        try:
            return tuple(map(ip_network, self._list(name)))
        except ValueError:
            raise self._wrong(
                name, "addresses and networks like 10.0.0.5,10.1.0.0/16"
            ) from None

    def webhook_urls(self, name: str) -> tuple[str, ...]:
        urls = self._list(name)
        for url in urls:
            if not self._has_port(url) or not _PRINTABLE.fullmatch(url):
                raise self._wrong(name, _TAKES_WEBHOOK_URLS)
            parts = urlsplit(url)
            if (
                parts.scheme not in {"http", "https"}
                or not parts.hostname
                or parts.username is not None
                or parts.fragment
            ):
                raise self._wrong(name, _TAKES_WEBHOOK_URLS)
        if len(set(urls)) < len(urls):
            raise self._wrong(name, "each URL once")
        return urls

    def webhook_secrets(self, name: str) -> tuple[str, ...]:
        secrets = self._list(name)
        for secret in secrets:
            try:
                key = base64.b64decode(
                    secret.removeprefix(WEBHOOK_SECRET), validate=True
                )
            except (ValueError, binascii.Error):
                key = b""
            least, most = _SECRET_BYTES
            if not secret.startswith(WEBHOOK_SECRET) or not least <= len(key) <= most:
                raise self._wrong(
                    name,
                    f"secrets that are {WEBHOOK_SECRET} and {least} to {most} bytes in "
                    "base64, separated by commas",
                )
        return secrets

    def _list(self, name: str) -> tuple[str, ...]:
        parts = (part.strip() for part in self._environ.get(name, "").split(","))
        return tuple(part for part in parts if part)

    def _number(
        self, name: str, default: Number, parse: Callable[[str], Number], takes: str
    ) -> Number:
        value = self.text(name)
        if value is None:
            return default
        try:
            return parse(value)
        except ValueError:
            raise self._wrong(name, takes) from None

    def _wrong(self, name: str, takes: str) -> SettingsError:
        return self._refused(name, f"takes {takes}")

    def _refused(self, name: str, why: str) -> SettingsError:
        shown = self._environ.get(name, "")
        if "SECRET" in name:
            shown = "…"
        elif any(part in name for part in ("URL", "DSN", "ENDPOINT")):
            # It may contain a password.
            shown = f"{redis_url.scheme_of(shown)}://…" if "://" in shown else "…"
        return SettingsError(f"{name}={shown}: {why}")
