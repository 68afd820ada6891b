"""Checks of the settings, and of what the system allows this process."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from app.doctor.findings import Finding, ok, problem, warning
from app.server.capacity import file_limit_warning, needed_files
from config import HEARTBEATS_PER_TTL, INSECURE, Settings


def check_secrets(settings: Settings) -> Iterator[Finding]:
    """Secrets, and doors that are open."""
    subject = "secrets"
    found = list(_weak_points(subject, settings))
    yield from found or [ok(subject, "long, different, and no demo")]


def _weak_points(subject: str, settings: Settings) -> Iterator[Finding]:
    if settings.insecure:
        yield problem(
            subject,
            f"{INSECURE} is set, so weak secrets and an open demo are allowed",
            "Unset it",
        )
    if settings.demo:
        yield problem(
            subject,
            "PRESENCE_DEMO is set, so anybody can sign in as anybody",
            "Unset it, unless this is a trial",
        )
    if settings.service_key is None:
        yield warning(
            subject,
            "PRESENCE_SERVICE_KEY is not set, so /api/admin is closed",
            "Set it to the output of `openssl rand -hex 32`, if you need these routes",
        )
    if settings.jwks_url and urlsplit(settings.jwks_url).scheme != "https":
        yield problem(
            subject,
            "PRESENCE_JWKS_URL has no https, so others on the network could sign in",
            "Use https",
        )


def check_timings(settings: Settings) -> Iterator[Finding]:
    """The heartbeat interval and the TTL."""
    interval, ttl = settings.heartbeat_interval, settings.online_ttl
    text = f"every {interval:g} s, with a TTL of {ttl:g} s"
    if interval * HEARTBEATS_PER_TTL > ttl * 1.001:
        yield warning(
            "heartbeat",
            f"{text}: two lost heartbeats end a connection",
            f"Set PRESENCE_HEARTBEAT_INTERVAL to {ttl / HEARTBEATS_PER_TTL:g} or less",
        )
    else:
        yield ok("heartbeat", text)


def check_files(settings: Settings) -> Iterator[Finding]:
    """The limit of open files, as this command has it."""
    if (text := file_limit_warning(settings)) is not None:
        yield problem(
            "files",
            text,
            "Raise the limit (`ulimit -n`, or LimitNOFILE of systemd), or lower "
            "PRESENCE_WORKER_CONNECTIONS",
        )
    else:
        yield ok("files", f"{needed_files(settings):,} may be open")
