"""Which addresses the web server may listen on.

The master of gunicorn imports this module, so it imports nothing that opens sockets.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from config import INSECURE, Settings

Address = str | tuple[str, int] | tuple[str, int, int, int]
"""As gunicorn has it: the path of a Unix socket, or a host and a port."""


def demo_refusal(settings: Settings, addresses: Sequence[Address]) -> str | None:
    """Why the web server must not start, in one line, or None.

    On the demo page anybody can sign in as anybody. So only this computer may reach it.
    """
    if not settings.demo or settings.insecure:
        return None
    open_to_others = [address for address in addresses if not _is_local(address)]
    if not open_to_others:
        return None
    return (
        f"PRESENCE_DEMO=1: other computers can reach {_text(open_to_others[0])}, and "
        f"on the demo page anybody can sign in as anybody. Listen here only, "
        f"with GUNICORN_CMD_ARGS=--bind=127.0.0.1:{settings.port}. For a trial, "
        f"{INSECURE}=1 allows it"
    )


def _text(address: Address) -> str:
    return address if isinstance(address, str) else f"{address[0]}:{address[1]}"


def _is_local(address: Address) -> bool:
    """Whether only this computer reaches `address`."""
    if isinstance(address, str):
        return True
    host = address[0]
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
