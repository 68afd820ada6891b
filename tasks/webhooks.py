"""The task that sends webhooks: the newest state of changed users, to each receiver.

One sender runs at a time, with one thread per receiver, so a slow receiver delays no
other. It stays for a minute and then hands over, like a drainer. Beat also sends the
task regularly, in case a sender has died. See `models.presence.webhooks` for what is
sent, and why nothing is lost.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from config import Settings
from models.presence import Presence, PresenceError
from models.presence.keys import shard_number
from models.presence.webhooks import Taken
from models.sql.db import error_text, is_unavailable
from models.sql.pages import users_page
from models.sql.presence_settings import layers_of
from models.webhooks import MAX_EVENTS, Batch, headers, receiver_name, retry_delay
from models.worker_metrics import WEBHOOKS
from tasks import resources
from tasks.celery_app import celery, current_settings, send_again
from tasks.drainer_policy import worker_state
from tasks.metrics import worker_metrics
from tasks.webhook_request import DeliveryFailed, post

log = logging.getLogger(__name__)

NOT_SENT = "webhooks wait, the next attempt sends them: %s"
WINDOW = 0.25
"""Seconds in which changes are gathered for one webhook."""
RENEW_SECONDS = 2.0
"""Seconds after which a sender renews its leases before it sends another webhook. With
the time of one request this is less than a lease."""
NICENESS = 15
"""The niceness of a thread that sends: all else is more urgent."""
GONE = 410
_MAX_ERROR = 200


@celery.task(name="tasks.webhooks.send_webhooks")
def send_webhooks() -> None:
    """Send to all receivers, until the sender's time is over."""
    settings = current_settings()
    if not settings.webhook_urls:
        return
    ends_at = time.monotonic() + worker_state.sender_seconds
    senders = [
        Sender(resources.presence(), resources.database(), settings, url)
        for url in settings.webhook_urls
    ]
    with ThreadPoolExecutor(len(senders)) as threads:
        had_lease = list(threads.map(lambda one: one.run(ends_at), senders))
    if any(had_lease) and worker_state.has_sender and not worker_state.is_stopping:
        send_again(send_webhooks)


class Sender:
    """Sends to one receiver, one request at a time."""

    def __init__(
        self, presence: Presence, database: Engine, settings: Settings, url: str
    ) -> None:
        self._presence = presence
        self._webhooks = presence.webhooks
        self._database = database
        self._settings = settings
        self._url = url
        self._name = receiver_name(url)
        self._token = secrets.token_hex(8)
        self._turn = -1
        self.has_lease = False
        """Whether this sender, and no other, sends to the receiver."""

    def run(self, ends_at: float) -> bool:
        """Send until the time `ends_at` (monotonic seconds), or until nothing waits if
        there is no process for this. Returns whether this was the receiver's sender."""
        _step_back()
        try:
            while True:
                more = self._step_safely()
                if not self.has_lease:
                    return False
                if worker_state.is_stopping or time.monotonic() >= ends_at:
                    return True
                if not more and not worker_state.has_sender:
                    return True
                if not more:
                    time.sleep(WINDOW)
        finally:
            with suppress(PresenceError):
                self._webhooks.leave(self._url, self._token)

    def _step_safely(self) -> bool:
        try:
            return self.step()
        except PresenceError as error:
            log.warning(NOT_SENT, error)
        except SQLAlchemyError as error:
            if not is_unavailable(error):
                raise
            log.warning(NOT_SENT, error_text(error))
        return False

    def step(self) -> bool:
        """Send at most one webhook per shard. Returns whether more waits.

        Raises:
            PresenceUnavailable: a shard does not answer. What it has waits.
            sqlalchemy.exc.SQLAlchemyError: the database is down. All waits.
        """
        found = self._webhooks.take(self._url, self._token, MAX_EVENTS)
        self.has_lease = bool(found)
        if any(one.disabled or one.next_at > one.now for one in found.values()):
            return False
        more = False
        started = time.monotonic()
        for shard, taken in self._in_turn(found):
            if time.monotonic() - started > RENEW_SECONDS:
                return True  # renew the leases first
            sent = self._send(shard, taken, found)
            worker_metrics.write(self._presence, shard)
            if sent is None:
                return False
            more |= sent >= MAX_EVENTS or 0 < sent < len(taken.unheard)
            if len(taken.unheard) < MAX_EVENTS and taken.has_to_walk:
                more |= self._walk(shard, taken)
        return more

    def _in_turn(self, found: dict[int, Taken]) -> list[tuple[int, Taken]]:
        """`found`, but each call begins with another shard, so that a slow receiver
        hears of all shards."""
        items = list(found.items())
        self._turn = (self._turn + 1) % max(1, len(items))
        return items[self._turn :] + items[: self._turn]

    def _send(self, shard: int, taken: Taken, found: dict[int, Taken]) -> int | None:
        """Send a batch of `shard`. Returns the number of its events, 0 if there was
        nothing to send. None: the receiver did not accept it."""
        batch = self._batch(shard, taken)
        if batch is None:
            return 0
        started = time.monotonic()
        try:
            status = post(
                self._url,
                batch.body,
                headers(batch, self._settings.webhook_secrets, time.time()),
                allow_private=self._settings.webhook_allow_private,
            )
            why = f"answered {status}"
        except DeliveryFailed as error:
            status, why = 0, str(error)[:_MAX_ERROR]
        seconds = time.monotonic() - started
        worker_metrics.add(shard, WEBHOOKS.counted(seconds))
        if 200 <= status < 300:  # noqa: PLR2004 - HTTP's successes
            self._webhooks.done(self._url, shard, batch)
            failing = {one for one, of in found.items() if of.failures}
            self._webhooks.clear_failures(self._url, failing - {shard})
            if failing:
                log.info("the webhook receiver %s accepts webhooks again", self._name)
            return len(batch.sent)
        now = taken.now + int(1000 * seconds)
        self._failed(shard, found, now, why, is_gone=status == GONE)
        return None

    def _batch(self, shard: int, taken: Taken) -> Batch | None:
        """What to send: the batch that was not accepted, if it is still true, or a new
        one. None if there is nothing to send."""
        if taken.batch is not None:
            users = [one.user_id for one in taken.batch.sent]
            if taken.batch.is_true(self._webhooks.truths(shard, users)):
                return taken.batch
        if not taken.unheard:
            return None
        # The details after the numbers: a later change of detail has a greater number,
        # so it is sent again.
        truths = self._webhooks.truths(shard, list(taken.unheard))
        with self._database.connect() as reader:
            layers = layers_of(reader, taken.unheard)
        batch = Batch.of(truths, layers, taken.unheard)
        self._webhooks.keep(self._url, shard, batch)
        return batch

    def _failed(
        self,
        shard: int,
        found: dict[int, Taken],
        now: int,
        why: str,
        *,
        is_gone: bool,
    ) -> None:
        failures = 1 + max(one.failures for one in found.values())
        since = max(one.failing_since for one in found.values()) or now
        delay = retry_delay(failures, (now - since) / 1000)
        failure: dict[str, str | int] = {
            "failures": failures,
            "failing_since": since,
            "next_at": now + int(1000 * delay),
            "last_error": why,
        }
        if is_gone:
            failure["disabled"] = now
            log.warning(
                "the webhook receiver %s answered 410: it gets no more webhooks until "
                "it is enabled by POST /api/admin/webhooks/enable",
                self._name,
            )
        elif failures == 1:
            log.warning(
                "the webhook receiver %s failed: %s; its webhooks wait",
                self._name,
                why,
            )
        self._webhooks.failed(self._url, shard, failure)

    def _walk(self, shard: int, taken: Taken) -> bool:
        """The receiver must hear of all users: add the next page of them. Returns
        whether this was done. It waits until all gateways have registered, because
        until then users seem to be offline."""
        if not self._presence.is_settled():
            return False
        shards = len(self._presence.shards)
        with self._database.connect() as reader:
            page = users_page(reader, taken.walked_to, MAX_EVENTS * shards)
        users = [one.id for one in page.items if shard_number(one.id, shards) == shard]
        self._webhooks.add_page(self._url, shard, taken, users, page.next)
        return True


def _step_back() -> None:
    """Give this thread a lower priority. Only Linux can do so for a single thread."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
