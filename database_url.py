"""The URL of the database.

A URL of PostgreSQL may have the options of libpq that make sense here, and several
hosts, in the form of libpq or of SQLAlchemy. A URL of SQLite has a file and no options,
because Greendot sets the options itself.

All processes read the settings, but beat and the first process of gunicorn never use a
database. SQLAlchemy would take 16 MB of each, so this module does not import it.
tests/test_urls.py compares both.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlencode

import url_options
from url_options import (
    Check,
    file,
    host_and_port,
    one_of,
    parts_of,
    port_number,
    text,
    whole,
)

PORT = 5432
POSTGRESQL = "postgresql+psycopg"
_SCHEMES = frozenset({"postgres", "postgresql", POSTGRESQL})
_SHAPE = "takes a URL like postgres://user:password@host:5432/db"

Place = tuple[str, int | None]
"""A host, or a folder with a socket, and its port if the URL has one."""


def _root_certificates(value: str) -> str:
    return value if value == "system" else file(value)


def _schema(value: str) -> str:
    if value != "public":
        message = "public (for another one write options=-csearch_path%3DNAME)"
        raise ValueError(message)
    return value


_SWITCH = one_of("0", "1")
_VERSION = one_of("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_OPTIONS: dict[str, Check] = {
    "application_name": text,
    "channel_binding": one_of("disable", "prefer", "require"),
    "connect_timeout": whole,
    "gssencmode": one_of("disable", "prefer", "require"),
    "host": text,
    "keepalives": _SWITCH,
    "keepalives_count": whole,
    "keepalives_idle": whole,
    "keepalives_interval": whole,
    "load_balance_hosts": one_of("disable", "random"),
    "options": text,
    "passfile": file,
    "password": text,
    "port": text,
    "require_auth": text,
    "ssl_max_protocol_version": _VERSION,
    "ssl_min_protocol_version": _VERSION,
    "sslcert": file,
    "sslcrl": file,
    "sslkey": file,
    "sslmode": one_of(
        "disable", "allow", "prefer", "require", "verify-ca", "verify-full"
    ),
    "sslnegotiation": one_of("postgres", "direct"),
    "sslpassword": text,
    "sslrootcert": _root_certificates,
    "sslsni": _SWITCH,
    "target_session_attrs": one_of(
        "any", "read-write", "read-only", "primary", "standby", "prefer-standby"
    ),
    "tcp_user_timeout": whole,
    "user": text,
}
_OF_OTHERS: dict[str, Check] = {
    # Prisma writes these. Greendot detects a pooler by itself, and always uses this
    # schema.
    "pgbouncer": one_of("true", "false"),
    "schema": _schema,
}
"""Options of other libraries that are accepted and need no action."""


def normalised(url: str) -> str:
    """`url` in SQLAlchemy's form, with the driver's name.

    Raises:
        ValueError: `url` cannot be used. The message says what is accepted.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme.lower() == "sqlite":
        return _sqlite(rest)
    if not separator or scheme.lower() not in _SCHEMES:
        message = "takes a postgres://, postgresql:// or sqlite:/// URL"
        raise ValueError(message)
    return _postgresql(f"{POSTGRESQL}://{rest}")


def hosts_of(url: str) -> tuple[tuple[str, int], ...]:
    """The hosts in a normalised `url`, with their ports. A file, or a socket in the
    file system, has no hosts."""
    _, hosts, _, query = parts_of(url)
    if hosts:
        host, port = host_and_port(hosts)
        return ((host, port or PORT),)
    options = {name: values[0] for name, values in parse_qs(query).items()}
    names = options.get("host", "").split(",")
    ports = options.get("port", "," * (len(names) - 1)).split(",")
    return tuple(
        (name, int(port or PORT))
        for name, port in zip(names, ports, strict=True)
        if name and not name.startswith("/")
    )


def _sqlite(rest: str) -> str:
    path, question, _ = rest.partition("?")
    url = f"sqlite://{path}"
    if not path.startswith("/"):
        message = "takes a URL like sqlite:///FILE, with three slashes"
        raise ValueError(message)
    if question:
        message = "takes no options for SQLite: a URL like sqlite:///FILE"
        raise ValueError(message)
    name = unquote(path.removeprefix("/"))
    if not name or name == ":memory:" or name.startswith("file:"):
        message = "takes a file for SQLite, which all processes share: sqlite:///FILE"
        raise ValueError(message)
    file = Path(name).absolute()
    # Missing folders are created.
    folder = next((one for one in file.parents if one.exists()), file)
    if file.is_dir() or not (folder.is_dir() and os.access(folder, os.W_OK)):
        message = "takes a file for SQLite, in a folder that can be written to"
        raise ValueError(message)
    return url


def _postgresql(url: str) -> str:
    credentials, hosts, path, query = parts_of(url)
    # For several hosts SQLAlchemy repeats the option; libpq separates them by commas.
    parts = query.split("&")
    repeated = [part for part in parts if part.startswith("host=")]
    kept = [part for part in parts if not part.startswith("host=")]
    found = url_options.options("&".join(kept), _OPTIONS | _OF_OTHERS)
    for name in _OF_OTHERS:
        found.pop(name, None)
    named = ",".join(unquote(part.partition("=")[2]) for part in repeated)
    if hosts and repeated:
        message = "takes its hosts once, before the path or as host="
        raise ValueError(message)
    try:
        places = _places(hosts, named, found.get("port", ""))
    except ValueError:
        raise ValueError(_SHAPE) from None
    host, port = None, None
    if len(places) == 1 and not places[0][0].startswith("/"):
        ((host, port),) = places
        found.pop("port", None)
    elif places:
        found["host"] = ",".join(name for name, _ in places)
        if any(number for _, number in places):
            found["port"] = ",".join(str(number or "") for _, number in places)
    made = f"{POSTGRESQL}://{_credentials(credentials)}"
    if host is not None:
        made += f"[{host}]" if ":" in host else host
    if port is not None:
        made += f":{port}"
    if name := unquote(path[1:]):
        made += f"/{quote(name)}"
    return made + ("?" + urlencode(found) if found else "")


def _credentials(given: str) -> str:
    """The user and password of a URL, and an `@` if there are any."""
    user, colon, password = given.partition(":")
    if not user:  # SQLAlchemy ignores a password without a user
        return ""
    made = quote(unquote(user), safe="")
    if colon:
        made += f":{quote(unquote(password), safe='')}"
    return f"{made}@"


def _places(hosts: str, named: str, ports: str) -> list[Place]:
    """All hosts with their ports. `hosts` is the part of the URL before the path,
    `named` the option `host`, and `ports` the option `port`.

    Raises:
        ValueError: a host is malformed, or the numbers of ports and hosts differ.
    """
    # A missing port is the default port.
    listed = ports.split(",") if ports else []
    numbers = [port_number(one) if one else None for one in listed]
    texts = unquote(hosts or named).split(",") if hosts or named else []
    if len(numbers) == 1:
        numbers *= len(texts)
    places = [_place(one) for one in texts]
    if not numbers:
        return places
    return [(name, port) for (name, _), port in zip(places, numbers, strict=True)]


def _place(one: str) -> Place:
    if one.startswith("/"):  # a folder with a socket
        folder, colon, port = one.partition(":")
        return folder, port_number(port) if colon else None
    # In the option an IPv6 address has no brackets.
    is_address = one.count(":") > 1 and not one.startswith("[")
    return host_and_port(f"[{one}]" if is_address else one)
