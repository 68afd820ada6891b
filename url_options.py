"""The common parts of the URLs in the settings: hosts, and options after a `?`.

Several libraries read each of these URLs, and each library has its own names for
options. So a URL is parsed once, here, against a table of known options. The libraries
get keyword arguments or a rewritten URL. Every `ValueError` says what the setting
takes. The message continues a sentence that begins with the name of the setting, and
never contains a password.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

MAX_PORT = 65535
_HOST = re.compile(r"[A-Za-z0-9._-]+")
_NAME = re.compile(r"[A-Za-z0-9_]{1,40}")

Check = Callable[[str], str]
"""Returns an option's value in the library's form, or raises a ValueError that says
what the option takes."""


def parts_of(url: str) -> tuple[str, str, str, str]:
    """The credentials, hosts, path and query of `url`, still encoded.

    Raises:
        ValueError: a character in `url` must be encoded.
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # an IPv6 bracket is not closed
        message = "takes a URL whose hosts are names, or addresses like [::1]"
        raise ValueError(message) from None
    if "#" in url or any(each.isspace() for each in url):
        message = "takes a URL in which # is written %23, and a blank %20"
        raise ValueError(message)
    credentials, _, hosts = parts.netloc.rpartition("@")
    if "@" in credentials:
        message = "takes a URL in which @ in a password is written %40"
        raise ValueError(message)
    return credentials, hosts, parts.path, parts.query


def host_and_port(text: str) -> tuple[str, int | None]:
    """The host and port in `name:port` or `[::1]:port`; None if there is no port.

    Raises:
        ValueError: the host or the port is malformed.
    """
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        ipaddress.IPv6Address(host)
    else:
        host, colon, port = text.partition(":")
        rest = colon + port
        # The encoding that a connection uses. It fails if a part is empty or too long.
        if not _HOST.fullmatch(host.encode("idna").decode()):
            raise ValueError(host)
    if not rest and not text.endswith(":"):
        return host, None
    return host, port_number(rest.removeprefix(":"))


def port_number(text: str) -> int:
    """`text` as a port.

    Raises:
        ValueError: `text` is not a port.
    """
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= MAX_PORT):
        raise ValueError(text)
    return int(text)


def options(query: str, table: Mapping[str, Check]) -> dict[str, str]:
    """The options in `query`, checked by `table`.

    Raises:
        ValueError: an option is unknown, has a wrong value, or is given twice.
    """
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in table:
            # The value may be a secret, and so may a malformed name: show neither.
            what = f"option {name}" if _NAME.fullmatch(name) else "such option"
            known = ", ".join(sorted(table)) or "a URL without options"
            message = f"takes no {what}, only {known}"
            raise ValueError(message)
        if name in found:
            message = f"takes {name} once"
            raise ValueError(message)
        try:
            found[name] = table[name](value)
        except ValueError as error:
            message = f"takes {error} for its option {name}"
            raise ValueError(message) from None
    return found


def text(value: str) -> str:
    """Any text except an empty one."""
    if not value:
        message = "a value"
        raise ValueError(message)
    return value


def whole(value: str) -> str:
    """A whole number, 0 or more."""
    if not (value.isascii() and value.isdecimal() and len(value) < len("1000000000")):
        message = "a whole number"
        raise ValueError(message)
    return value


def file(value: str) -> str:
    """A readable file."""
    try:
        with Path(value).open("rb"):
            return value
    except OSError:
        message = "a file that can be read"
        raise ValueError(message) from None


def folder(value: str) -> str:
    """A folder."""
    if not Path(value).is_dir():
        message = "a folder"
        raise ValueError(message)
    return value


def one_of(*values: str) -> Check:
    """A check for one of these words."""

    def check(value: str) -> str:
        if value not in values:
            message = ", ".join(values[:-1]) + f" or {values[-1]}"
            raise ValueError(message)
        return value

    return check
