"""Compares the settings of this command with those that the gateways publish in Redis
(`models.presence.gateway_settings`). So a gateway that differs is named.
"""

from __future__ import annotations

from collections.abc import Iterator

from app.doctor.findings import Finding, ok, problem
from config import Settings
from models.presence import Presence, PresenceUnavailable
from models.presence.gateway_settings import published

SUBJECT = "web"
MAX_NAMED = 3
"""The most gateways that one line names."""
MAX_TEXT = 100
"""The most characters of a value in a line."""


def check_gateway_settings(settings: Settings, presence: Presence) -> Iterator[Finding]:
    """The settings of all gateways that are alive. Nothing if Redis is down: other
    checks say so."""
    try:
        loads = presence.gateway_loads()
        living = [one.gateway_id for one in loads if not one.is_overdue]
        found = presence.gateway_settings.read(living)
    except PresenceUnavailable:
        return
    here = published(settings)
    others: dict[tuple[str, str], list[str]] = {}
    for gateway_id, there in sorted(found.items()):
        for name, value in here.items():
            # A gateway of another version may lack a setting.
            if (other := there.get(name, value)) != value:
                process = gateway_id.rpartition(":")[0]
                others.setdefault((name, other), []).append(process)
    for (name, other), processes in others.items():
        yield problem(
            SUBJECT,
            f"{name} is {_shown(other)} in {_named(processes)}, and "
            f"{_shown(here[name])} in this command",
            "Give all processes the same value, and restart those with another one",
        )
    if found and not others:
        yield ok(SUBJECT, f"gateways with the settings of this command: {len(found)}")


def _shown(value: str) -> str:
    return value[:MAX_TEXT] or "not set"


def _named(processes: list[str]) -> str:
    more = len(processes) - MAX_NAMED
    names = ", ".join(processes[:MAX_NAMED])
    return f"{names} and {more} more" if more > 0 else names
