"""The URLs of Redis, and what they say.

    redis://[user:password@]host[:6379][/db]                    one server
    redis+sentinel://[user:password@]host[:26379][,host...]/NAME[/db]
                     sentinels, which tell who is primary of the group NAME now
    redis+cluster://[user:password@]host[:6379][,host...]
                     some nodes of a cluster, which tell the others

With `rediss` in place of `redis` all lines are encrypted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlsplit

SERVER = frozenset({"redis", "rediss"})
SENTINEL = frozenset({"redis+sentinel", "rediss+sentinel"})
CLUSTER = frozenset({"redis+cluster", "rediss+cluster"})

SENTINEL_PASSWORD = "sentinel_password"  # noqa: S105 - the name of an option


def scheme_of(url: str) -> str:
    """The scheme of `url`, "" where it has none."""
    return url.partition("://")[0].lower() if "://" in url else ""


def check(url: str) -> None:
    """Look whether `url`, whose scheme is one of those above, can be read.

    Raises:
        ValueError: it is malformed; the message says what such a URL looks like.
    """
    if scheme_of(url) not in SERVER:
        ManyHosts.parse(url)
        return
    try:
        parts = urlsplit(url)
        db = parts.path.strip("/")
        if not parts.hostname or parts.port == 0 or (db and not db.isdecimal()):
            raise ValueError  # noqa: TRY301 - all mistakes get the same line
    except ValueError:
        shape = f"{scheme_of(url)}://[user:password@]host[:6379][/db]"
        raise ValueError(shape) from None


def has_tls(url: str) -> bool:
    """Whether the lines to Redis are to be encrypted."""
    return scheme_of(url).startswith("rediss")


@dataclass(frozen=True, slots=True)
class ManyHosts:
    """What a URL of sentinels or of a cluster says."""

    hosts: tuple[tuple[str, int], ...]
    tls: bool
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    group: str = ""
    """The name under which the sentinels know the primary."""
    db: int = 0
    sentinel_password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> ManyHosts:
        """Read `url`, whose scheme is one of SENTINEL or CLUSTER.

        Raises:
            ValueError: it is malformed; the message says what such a URL looks like.
        """
        is_sentinel = scheme_of(url) in SENTINEL
        shape = f"{scheme_of(url)}://[user:password@]host:port[,host:port...]"
        if is_sentinel:
            shape += "/NAME_OF_THE_PRIMARY[/db]"
        try:
            parts = urlsplit(url)
            path = parts.path.strip("/").split("/") if parts.path.strip("/") else []
            options = dict(parse_qsl(parts.query))
            group, db = _group_and_db(path) if is_sentinel else _none(path)
            sentinel_password = options.pop(SENTINEL_PASSWORD, None)
            if options or (sentinel_password and not is_sentinel):
                raise ValueError  # noqa: TRY301 - all mistakes get the same line
            credentials, _, hosts = parts.netloc.rpartition("@")
            default = 26379 if is_sentinel else 6379
            places = tuple(_host(one, default) for one in hosts.split(","))
        except ValueError:
            raise ValueError(shape) from None
        username, _, password = credentials.partition(":")
        return cls(
            places,
            has_tls(url),
            unquote(username) or None,
            unquote(password) or None,
            group,
            db,
            sentinel_password,
        )

    def for_celery(self) -> str:
        """The sentinels as Celery wants to have them."""
        credentials = ""
        if self.password:
            credentials = f"{_quoted(self.username)}:{_quoted(self.password)}@"
        places = (f"[{h}]:{p}" if ":" in h else f"{h}:{p}" for h, p in self.hosts)
        return ";".join(f"sentinel://{credentials}{one}/{self.db}" for one in places)


def _quoted(text: str | None) -> str:
    return quote(text or "", safe="")


def _host(text: str, default_port: int) -> tuple[str, int]:
    host, port = urlsplit(f"//{text}").hostname, urlsplit(f"//{text}").port
    if not host:
        raise ValueError
    return host, port or default_port


def _group_and_db(path: list[str]) -> tuple[str, int]:
    group, *rest = path
    (db,) = map(int, rest or ["0"])
    return unquote(group), db


def _none(path: list[str]) -> tuple[str, int]:
    if path not in ([], ["0"]):
        raise ValueError
    return "", 0
