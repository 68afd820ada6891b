"""All checks of `flask doctor`, in order."""

from __future__ import annotations

from collections.abc import Iterator

from app.doctor.findings import Finding
from app.doctor.gateways import check_gateway_settings
from app.doctor.processes import check_processes
from app.doctor.public import check_public_url
from app.doctor.settings import check_files, check_secrets, check_timings
from app.doctor.stores import check_database, check_redis
from app.doctor.webhooks import check_webhooks
from app.services import Services


def findings(services: Services, url: str | None) -> Iterator[Finding]:
    """What there is to say about this deployment, and about its public URL."""
    settings, presence = services.settings, services.presence
    yield from check_secrets(settings)
    yield from check_timings(settings)
    yield from check_files(settings)
    yield from check_database(settings, services.database, services.sessions)
    yield from check_redis(settings, presence)
    yield from check_processes(settings, presence)
    yield from check_gateway_settings(settings, presence)
    yield from check_webhooks(presence)
    if url is not None:
        yield from check_public_url(settings, url)
