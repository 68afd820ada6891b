"""The Celery application, configured from the settings on first use.

`celery -A tasks.celery_app worker` and `... beat` read the environment. The web process
only sends tasks, and passes its settings to `configure`. Nothing connects at import.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from celery import Celery, Task
from celery.signals import before_task_publish
from kombu.exceptions import OperationalError
from kombu.transport.redis import Channel, Transport
from redis.exceptions import ResponseError

import redis_url
from config import Settings, settings_or_exit
from models.presence.redis.client import PrimaryConnection, SecurePrimaryConnection
from models.telemetry import causes

QUEUE = "greendot"
TASK_EXPIRES = 60
"""Seconds after which a waiting task is dropped, because beat has sent newer ones. The
worker and the sender may be on hosts whose clocks differ. This time must be longer than
the difference."""

SWEEPS_PER_CLEANUP = 12
"""Old sessions are deleted once in so many sweep intervals: by default once a
minute."""

SAMPLE_EVERY = 60
"""Seconds between two samples for the operators' page."""

NICENESS = 5
"""The niceness of processes that are not gateways, so that a gateway on the same
machine runs first. With normal priority a worker takes a quarter of a core, although it
needs only a tenth."""

_configured: list[Settings] = []


def configure(settings: Settings) -> None:
    """Use `settings` in this process instead of the settings in the environment."""
    _configured[:] = [settings]
    celery.conf.update(_celery_settings(settings))


def current_settings() -> Settings:
    """The settings of this process. If one is wrong, the process ends with one line."""
    if not _configured:
        _configured.append(settings_or_exit())
    return _configured[0]


def scheduled_tasks() -> set[str]:
    """The names of the tasks that beat sends."""
    return {entry["task"] for entry in celery.conf.beat_schedule.values()}


def short_name(task: str) -> str:
    """The name of a task without its module."""
    return task.rpartition(".")[2]


def send_again(task: Task, *args: object) -> None:
    """Send `task` with `args`, to go on where it has stopped. If the broker is down,
    beat sends it later."""
    with suppress(OperationalError):
        task.apply_async(args, retry=False, expires=TASK_EXPIRES)


@before_task_publish.connect
def _name_request(headers: dict[str, Any], **_: object) -> None:
    """Let the log lines of a task have the id of the request that has sent it."""
    if request_id := causes.current_request():
        headers["request_id"] = request_id


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
        # Not `broker_url`: Celery would ignore it and read CELERY_BROKER_URL itself.
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
            # A worker notices a dead connection after one to two of these intervals.
            # With kombu's default of 25 s, nothing would be broadcast for a minute.
            "health_check_interval": 5,
            # No copy of an unacknowledged message: see `do_restore` below.
            "ack_emulation": False,
            **sentinels,
        },
        "task_default_queue": QUEUE,
        "task_ignore_result": True,
        # A task may take long, because it handles batches. So a process must not
        # reserve a second task.
        "worker_prefetch_multiplier": 1,
        # An option in the Procfile would override CELERY_WORKER_CONCURRENCY.
        # A slow webhook receiver must not delay sweeps, so its sender has a process.
        "worker_concurrency": 3 if settings.webhook_urls else 2,
        "worker_consumer": "tasks.worker:Consumer",
        # It matters only with late acknowledgement. If unset, Celery warns.
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        "worker_send_task_events": False,
        # It needs pub/sub channels. By default a Redis 7 user has no permission for
        # any channel.
        "worker_enable_remote_control": False,
        "imports": ("tasks.startup",),
        "timezone": "UTC",
        # All entries have intervals, so beat needs no file to remember the last runs.
        "beat_scheduler": "celery.beat:Scheduler",
        "beat_max_loop_interval": max(0.1, sweep / 2),
        # If no worker runs, tasks wait in the queue for TASK_EXPIRES at most. Each
        # shard has its own tasks, so that a shard that is down does not delay others.
        "beat_schedule": {
            f"{short_name(task)}-{shard}": {
                "task": task,
                "args": (shard,),
                "schedule": sweep,
                "options": {"expires": max(TASK_EXPIRES, sweep)},
            }
            for task in (
                "tasks.expiry.expire_due",
                "tasks.broadcast.drain_transitions",
                "tasks.crowds.tell_crowds",
                "tasks.history.store_transitions",
            )
            for shard in range(settings.shards)
        }
        | {
            short_name(task): {
                "task": task,
                "schedule": sweep,
                "options": {"expires": max(TASK_EXPIRES, sweep)},
            }
            for task in (
                "tasks.announcements.announce_pending",
                "tasks.layers.end_due",
                *(["tasks.webhooks.send_webhooks"] if settings.webhook_urls else []),
            )
        }
        | {
            "delete_old_sessions": {
                "task": "tasks.history.delete_old_sessions",
                "schedule": SWEEPS_PER_CLEANUP * sweep,
                "options": {"expires": max(TASK_EXPIRES, sweep)},
            },
            "take_sample": {
                "task": "tasks.samples.take_sample",
                "schedule": SAMPLE_EVERY,
                "options": {"expires": SAMPLE_EVERY},
            },
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


# Do not put unacknowledged messages back into the queue. If a message is lost, no work
# is lost: the outbox keeps the work until it is done, and beat sends the next task. If
# there are messages to put back, kombu 5.7 fails when it loses the broker: "'NoneType'
# object has no attribute 'hostname'". We saw this when Redis was killed under a worker
# with late acknowledgement.
Channel.do_restore = False

# An error reply of the broker is an outage, like a lost connection. The broker is out
# of memory, has too few replicas, denies a permission, or has become a replica. Without
# this line kombu would end the worker.
Transport.connection_errors += (ResponseError,)
# If the server has become a replica, connect again: the address leads to the new
# primary.
Channel.connection_class = PrimaryConnection
Channel.connection_class_ssl = SecurePrimaryConnection

celery = Celery("greendot")
celery.add_defaults(lambda: _celery_settings(current_settings()))
