"""The Celery application, configured from Settings on first use.

`celery -A tasks.celery_app worker` and `... beat` read the environment; the web
process, which only sends tasks, hands its settings to `configure`. Nothing connects at
import.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.signals import (
    after_setup_logger,
    worker_init,
    worker_process_init,
    worker_shutting_down,
)
from kombu.transport.redis import Channel, Transport
from redis.exceptions import ResponseError

import redis_url
from config import Settings, settings_or_exit
from models.garbage import collect_less
from models.presence.redis.client import PrimaryConnection, SecurePrimaryConnection
from tasks.drainer_policy import worker

QUEUE = "greendot"
TASK_EXPIRES = 60
"""Seconds after which a task that no worker took is worthless: beat has sent others.
A worker judges that by its own host's clock: it must not be so short that hosts whose
clocks differ by some seconds never do anything."""

NICENESS = 5
"""By how much what is no gateway gives way to others on its machine. A worker keeps a
quarter of a core for which a gateway competes, and needs a tenth."""

_configured: list[Settings] = []


def configure(settings: Settings) -> None:
    """Use `settings` in this process instead of those of the environment."""
    _configured[:] = [settings]
    celery.conf.update(_celery_settings(settings))


def current_settings() -> Settings:
    """The settings of this process; a wrong one ends it with one line."""
    if not _configured:
        _configured.append(settings_or_exit())
    return _configured[0]


def _celery_settings(settings: Settings) -> dict[str, Any]:
    sweep = settings.sweep_interval
    broker_url = settings.broker_url
    tls: dict[str, Any] = {}
    sentinels: dict[str, Any] = {}
    scheme = redis_url.scheme_of(broker_url)
    if scheme in redis_url.SERVER | redis_url.SENTINEL:
        broker = redis_url.RedisUrl.parse(broker_url)
        broker_url = broker.for_celery()
        tls = broker.tls_arguments(verify=settings.redis_tls_verify)
        if scheme in redis_url.SENTINEL:
            sentinels = _through_sentinels(broker, tls)
    return {
        # Not broker_url: Celery prefers CELERY_BROKER_URL to that, as it stands there.
        "broker_read_url": broker_url,
        "broker_write_url": broker_url,
        "broker_use_ssl": tls or None,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_pool_limit": 4,
        "broker_transport_options": {
            "socket_connect_timeout": 2,
            "socket_timeout": 5,
            "socket_keepalive": True,
            # Also how soon a worker notices that its line is dead: after one to two of
            # these. With kombu's 25 it hears nothing for a minute, nor does anybody.
            "health_check_interval": 5,
            # No copy of a message that is under way: see `do_restore` below.
            "ack_emulation": False,
            **sentinels,
        },
        "task_default_queue": QUEUE,
        "task_ignore_result": True,
        # Tasks are few and carry batches: a second one must not wait behind a first.
        "worker_prefetch_multiplier": 1,
        # Not in the Procfile, whose word would win over CELERY_WORKER_CONCURRENCY.
        "worker_concurrency": 2,
        "worker_consumer": "tasks.broker_retry:Consumer",
        # Of no effect without late acknowledgement; unset, Celery warns of it.
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        "worker_send_task_events": False,
        # It needs channels, to which a user of Redis 7 has no right by default.
        "worker_enable_remote_control": False,
        "imports": ("tasks.announcements", "tasks.broadcast", "tasks.expiry"),
        "timezone": "UTC",
        # Intervals only: there is nothing that beat would have to remember in a file.
        "beat_scheduler": "celery.beat:Scheduler",
        "beat_max_loop_interval": max(0.1, sweep / 2),
        # While no worker is there they pile up for TASK_EXPIRES, and no longer.
        # One of each kind per shard: a shard that is away holds up no other.
        "beat_schedule": {
            f"{task.rpartition('.')[2]}-{shard}": {
                "task": task,
                "args": (shard,),
                "schedule": sweep,
                "options": {"expires": max(TASK_EXPIRES, sweep)},
            }
            for task in (
                "tasks.expiry.expire_due",
                "tasks.broadcast.drain_transitions",
            )
            for shard in range(settings.shards)
        }
        | {
            "announce_pending": {
                "task": "tasks.announcements.announce_pending",
                "schedule": sweep,
                "options": {"expires": max(TASK_EXPIRES, sweep)},
            }
        },
    }


def _through_sentinels(
    broker: redis_url.RedisUrl, tls: dict[str, Any]
) -> dict[str, Any]:
    """The options with which Celery asks sentinels for the primary."""
    options: dict[str, Any] = {"socket_connect_timeout": 2, "socket_timeout": 5}
    if broker.sentinel_password:
        options["username"] = broker.sentinel_username
        options["password"] = broker.sentinel_password
    if tls:
        options |= {"ssl": True, **tls}
    return {"master_name": broker.group, "sentinel_kwargs": options}


# A task's message holds nothing that would be lost with it: the outbox keeps what is to
# be done until it is done, and beat sends the next one. So nothing is given back to the
# broker, and a worker survives the loss of it: with unacknowledged messages at hand,
# kombu 5.7 ends on "'NoneType' object has no attribute 'hostname'" (seen when Redis was
# killed under a worker with late acknowledgement).
Channel.do_restore = False

# An error reply of the broker is an outage like a lost connection: it is full, has no
# replicas, takes our rights away, was a primary. For kombu it is the end of a worker.
Transport.connection_errors += (ResponseError,)
# And who was a primary is not asked again: the address leads to another one now.
Channel.connection_class = PrimaryConnection
Channel.connection_class_ssl = SecurePrimaryConnection

celery = Celery("greendot")
celery.add_defaults(lambda: _celery_settings(current_settings()))


@after_setup_logger.connect
def _set_up_logging(**_: object) -> None:
    # Here, not above: what it imports is the worker's and beat's, not for the gateway.
    from tasks.broker_retry import quieten  # noqa: PLC0415

    quieten()


@worker_process_init.connect
def _prepare_process(**_: object) -> None:
    collect_less()
    # A gateway on this machine goes first: who is being told of a change is not to wait
    # while we tidy up after it.
    os.nice(NICENESS)


@worker_init.connect
def _count_processes(sender: Any, **_: object) -> None:  # noqa: ANN401 - no types
    # Before the fork, so that all processes know it.
    worker.processes = sender.concurrency if isinstance(sender.concurrency, int) else 1


@worker_shutting_down.connect
def _end_tenures(**_: object) -> None:
    worker.stop()
