"""Checks of Redis and of the database."""

from __future__ import annotations

import time
from collections.abc import Iterator

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from app.doctor.findings import Finding, ok, problem, warning
from config import PROJECT_ROOT, Settings
from models.presence import Presence, PresenceUnavailable
from models.presence.servers import ServerInfo, lacks_permission
from models.sql.db import POOL_SIZE, check_writes, error_text

LEAST_VERSION = (7, 0)
SLOW_MS, TOO_SLOW_MS = 5.0, 50.0
"""Milliseconds of a round trip. A change of status takes about six of them."""
OTHER_PROCESSES = 4
"""Processes of one worker, its parent and beat. Each may open a pool."""
CLOCK_SECONDS = 5.0
"""By so much two clocks may differ. Tokens have a leeway of 60 seconds."""


def check_redis(settings: Settings, presence: Presence) -> Iterator[Finding]:
    """The server of each shard, and the permissions of our user."""
    try:
        denied = presence.servers.denied_commands()
        if denied:
            names = ", ".join(sorted(one.command for one in denied))
            yield problem(
                "redis",
                f"its user may not run: {names}",
                "Give it these permissions, see *Permissions in Redis* in "
                "docs/OPERATIONS.md",
            )
        presence.check_writes()
    except PresenceUnavailable as error:
        yield problem("redis", str(error), "Check REDIS_URL, and whether Redis runs")
        return
    seen = set()
    for shard in range(settings.shards):
        try:
            info = presence.servers.info(shard)
        except PresenceUnavailable as error:
            if lacks_permission(error):
                yield warning(
                    "redis",
                    "its user may not run INFO, so the version, the eviction policy "
                    "and persistence are unknown",
                    "Give it +info",
                )
            else:
                yield problem("redis", str(error), "Check whether this server runs")
            return
        for finding in _server_findings(info):
            if finding.text not in seen:
                seen.add(finding.text)
                yield finding


def _server_findings(info: ServerInfo) -> Iterator[Finding]:
    version = ".".join(map(str, info.version))
    if info.version < LEAST_VERSION:
        yield problem("redis", f"its version is {version}", "Use 7.0 or newer")
    if info.evicts is not None:
        yield problem(
            "redis",
            f"its maxmemory-policy is {info.evicts}, so with a full memory it deletes "
            f"keys that say who is online",
            "Set maxmemory-policy to noeviction",
        )
    if not info.persists:
        yield warning(
            "redis",
            "it seems to write nothing to a disk, so a restart loses what is waiting, "
            "such as webhooks",
            "Set appendonly to yes, if that matters to you",
        )
    if info.latency > SLOW_MS:
        level = problem if info.latency > TOO_SLOW_MS else warning
        yield level(
            "redis",
            f"a round trip takes {info.latency:.1f} ms",
            "Put Redis into the same data centre, next to the web processes",
        )
    yield from _clock("redis", info.clock_ahead)
    yield ok("redis", f"{info.product} {version}, {info.latency:.1f} ms away")


def _clock(subject: str, ahead: float) -> Iterator[Finding]:
    if abs(ahead) > CLOCK_SECONDS:
        way = "ahead of" if ahead > 0 else "behind"
        yield problem(
            subject,
            f"its clock is {abs(ahead):.0f} s {way} the clock of this computer",
            "Let NTP set the clocks of all computers",
        )


def check_database(
    settings: Settings, engine: Engine, sessions: sessionmaker[Session]
) -> Iterator[Finding]:
    """Whether the database is migrated, accepts writes, and has enough connections."""
    subject = "database"
    try:
        with engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_heads()
        head = newest_revision()
        if current != (head,):
            yield problem(
                subject,
                f"its revision is {', '.join(current) or 'none'} and not {head}",
                "Run `python -m alembic upgrade head`",
            )
        check_writes(sessions)
        yield from _limits_of(settings, engine)
    except SQLAlchemyError as error:
        advice = "Check DATABASE_URL, and whether the database accepts writes"
        yield problem(subject, error_text(error), advice)
        return
    yield ok(subject, f"{engine.dialect.name}, revision {head}, accepts writes")


def newest_revision() -> str | None:
    """The newest migration in the code."""
    config = Config(toml_file=str(PROJECT_ROOT / "pyproject.toml"))
    return ScriptDirectory.from_config(config).get_current_head()


def _limits_of(settings: Settings, engine: Engine) -> Iterator[Finding]:
    if engine.dialect.name != "postgresql":
        yield warning(
            "database",
            "it is a SQLite file, so all processes must run on this computer",
            "Use PostgreSQL in production",
        )
        return
    with engine.connect() as connection:
        most, now = connection.execute(
            text(
                "SELECT current_setting('max_connections')::int, "
                "extract(epoch FROM clock_timestamp())"
            )
        ).one()
        yield from _clock("database", float(now) - time.time())
    needed = (settings.web_concurrency + OTHER_PROCESSES) * POOL_SIZE
    if needed > most:
        yield warning(
            "database",
            f"one web server, worker and beat may open {needed} connections, and it "
            f"allows {most}",
            "Raise max_connections, or put PgBouncer in between",
        )
