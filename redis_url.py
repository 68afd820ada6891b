"""The URLs of Redis.

    redis://[user:password@]host[:6379][/db]                    one server
    redis+sentinel://[user:password@]host[:26379][,host...]/NAME[/db]
                     sentinels, which know the current primary of the group NAME
    redis+cluster://[user:password@]host[:6379][,host...]
                     some nodes of a cluster, which know the others

With `rediss` instead of `redis`, all connections are encrypted. TLS options may follow,
such as `?ssl_ca_certs=FILE`. They apply to every host.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

import url_options
from url_options import Check, file, folder, host_and_port, parts_of, text, whole

SERVER = frozenset({"redis", "rediss"})
SENTINEL = frozenset({"redis+sentinel", "rediss+sentinel"})
CLUSTER = frozenset({"redis+cluster", "rediss+cluster"})

_VERIFY = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}
_TRUE = frozenset({"true", "yes", "1"})
_FALSE = frozenset({"false", "no", "0"})


def _verification(value: str) -> str:
    """A value as redis-py writes it (none) or as Celery does (CERT_NONE)."""
    word = value.lower().removeprefix("cert_")
    if word not in _VERIFY:
        message = "none, optional or required"
        raise ValueError(message)
    return word


def _flag(value: str) -> str:
    if value.lower() in _TRUE:
        return "true"
    if value.lower() in _FALSE:
        return "false"
    message = "true or false"
    raise ValueError(message)


_TLS: dict[str, Check] = {
    "ssl_ca_certs": file,
    "ssl_ca_path": folder,
    "ssl_cert_reqs": _verification,
    "ssl_certfile": file,
    "ssl_check_hostname": _flag,
    "ssl_keyfile": file,
    "ssl_password": text,
}
"""The TLS options, by the names that redis-py and Celery share."""


def scheme_of(url: str) -> str:
    """The scheme of `url`; "" if it has none."""
    return url.partition("://")[0].lower() if "://" in url else ""


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A parsed URL of Redis."""

    scheme: str
    hosts: tuple[tuple[str, int], ...]
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    group: str = ""
    """The sentinels' name for the primary and its replicas."""
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    tls_options: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @classmethod
    def parse(cls, url: str) -> RedisUrl:
        """Parse `url`, which has one of the schemes above.

        Raises:
            ValueError: `url` cannot be used. The message says what is accepted.
        """
        scheme = scheme_of(url)
        credentials, hosts, path, query = parts_of(url)
        found = url_options.options(query, _table(scheme))
        try:
            group, db = _group_and_db(path, scheme)
            default = 26379 if scheme in SENTINEL else 6379
            listed = [hosts] if scheme in SERVER else hosts.split(",")
            found_at = map(host_and_port, listed)
            places = tuple((host, port or default) for host, port in found_at)
            username, _, password = map(_decoded, credentials.partition(":"))
        except ValueError:
            message = f"takes a URL like {_shape(scheme)}"
            raise ValueError(message) from None
        given = found.pop("db", None)
        if given is not None and path.strip("/") and db != int(given):
            message = "takes one number of the database, behind the host or as db="
            raise ValueError(message)
        address = cls(
            scheme,
            places,
            username or None,
            password or None,
            db if given is None else int(given),
            group,
            found.pop("sentinel_username", None),
            found.pop("sentinel_password", None),
            tuple(found.items()),
        )
        address._check_tls()
        return address

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.scheme.startswith("rediss")

    def tls_arguments(self, *, verify: bool) -> dict[str, Any]:
        """The keyword arguments of redis-py and Celery for TLS; empty without TLS.
        If the URL does not say whether certificates are checked, `verify` decides."""
        if not self.tls:
            return {}
        said: dict[str, Any] = dict(self.tls_options)
        required = said.pop("ssl_cert_reqs", "required" if verify else "none")
        checks_name = said.pop("ssl_check_hostname", None)
        return {
            **said,
            "ssl_cert_reqs": _VERIFY[required],
            "ssl_check_hostname": required != "none" and checks_name != "false",
        }

    def for_celery(self) -> str:
        """The URL of the server or of the sentinels, in Celery's form."""
        credentials = ""
        if self.username or self.password:
            credentials = f"{_quoted(self.username)}:{_quoted(self.password)}@"
        scheme = "sentinel" if self.scheme in SENTINEL else self.scheme
        places = (f"[{h}]:{p}" if ":" in h else f"{h}:{p}" for h, p in self.hosts)
        return ";".join(f"{scheme}://{credentials}{one}/{self.db}" for one in places)

    def _check_tls(self) -> None:
        """Check that the TLS files can be used."""
        said = dict(self.tls_options)
        if "ssl_keyfile" in said and "ssl_certfile" not in said:
            message = "takes ssl_keyfile only together with ssl_certfile"
            raise ValueError(message)
        if not said.keys() & {"ssl_certfile", "ssl_ca_certs"}:
            return
        # Not the default context: to load the system's certificates takes 50 ms.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            if "ssl_certfile" in said:
                # An empty password: OpenSSL must not ask for one at the terminal.
                context.load_cert_chain(
                    said["ssl_certfile"],
                    said.get("ssl_keyfile"),
                    said.get("ssl_password", ""),
                )
            if "ssl_ca_certs" in said:
                context.load_verify_locations(said["ssl_ca_certs"])
        except OSError as error:
            message = f"takes certificates and keys in PEM that fit together ({error})"
            raise ValueError(message) from None


def _table(scheme: str) -> dict[str, Check]:
    """The options that `scheme` takes."""
    table: dict[str, Check] = {}
    if scheme.startswith("rediss"):
        table |= _TLS
    if scheme not in CLUSTER:
        table["db"] = whole
    if scheme in SENTINEL:
        table |= {"sentinel_username": text, "sentinel_password": text}
    return table


def _shape(scheme: str) -> str:
    if scheme in SERVER:
        return f"{scheme}://[user:password@]host[:6379][/db]"
    many = f"{scheme}://[user:password@]host:port[,host:port...]"
    return many + "/NAME_OF_THE_PRIMARY[/db]" if scheme in SENTINEL else many


def _group_and_db(path: str, scheme: str) -> tuple[str, int]:
    parts = path.strip("/").split("/") if path.strip("/") else []
    group = _decoded(parts.pop(0)) if scheme in SENTINEL and parts else ""
    if scheme in SENTINEL and not group:
        raise ValueError
    if scheme in CLUSTER and parts not in ([], ["0"]):
        raise ValueError
    (db,) = map(whole, parts or ["0"])
    return group, int(db)


def _decoded(text: str) -> str:
    return unquote(text, errors="strict")


def _quoted(text: str | None) -> str:
    return quote(text or "", safe="")
