"""What webhooks say, how they are signed, and when they are tried again. Plain Python.

The form is that of Standard Webhooks (https://www.standardwebhooks.com). A webhook
always tells the truth: users who hide from others are not hidden from the host.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import orjson

from config import WEBHOOK_SECRET
from models.detail import NO_LAYERS, Layers, detail_of
from models.events import UserStatus, detail_data

MAX_EVENTS = 100
"""The most events in one webhook."""
FIRST_RETRY = 5.0
"""Seconds after which a webhook that failed is tried again. The time doubles with each
failure."""
LONGEST_RETRY = 600.0
"""The longest such time in the first three days."""
GIVE_UP_HURRYING = 3 * 86_400.0
"""Seconds of failures after which there is only one attempt an hour."""
SLOW_RETRY = 3600.0


def receiver_name(url: str) -> str:
    """A receiver for log lines: its URL without what may be a secret, such as its
    path."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


class Sent(NamedTuple):
    """What a batch says of a user: enough to tell whether that is still so."""

    user_id: str
    online: bool
    number: int
    """The newest number of the user's sequence; 0 if nothing was stored."""


class Truth(NamedTuple):
    """The real status of a user, read at the time `now` (ms)."""

    status: UserStatus
    number: int
    epoch: int
    now: int

    @property
    def sent(self) -> Sent:
        """What a batch keeps of it."""
        return Sent(self.status.user_id, self.status.online, self.number)

    @property
    def version(self) -> int:
        """The version of the event (ms). If nothing is stored, this is a time shortly
        before any later change."""
        return max(self.number or self.now - 1, self.epoch)


@dataclass(frozen=True, slots=True)
class Batch:
    """One webhook. It is sent again unchanged, under the same id, while it is true."""

    id: str
    body: bytes
    sent: tuple[Sent, ...]
    epoch: int
    """When Redis had last lost data (ms). Versions are at least this."""

    def is_true(self, truths: Iterable[Truth]) -> bool:
        """Whether it still is the newest state of its users."""
        found = list(truths)
        return [one.sent for one in found] == list(self.sent) and all(
            one.epoch == self.epoch for one in found
        )

    def encode(self) -> bytes:
        """The batch as bytes for `decode`."""
        sent = [tuple(one) for one in self.sent]
        return orjson.dumps([self.body.decode(), sent, self.epoch])

    @classmethod
    def decode(cls, batch_id: str, encoded: str) -> Self:
        """Inverse of `encode`."""
        body, sent, epoch = orjson.loads(encoded)
        return cls(batch_id, body.encode(), tuple(Sent(*one) for one in sent), epoch)

    @classmethod
    def of(
        cls,
        truths: Sequence[Truth],
        layers: Mapping[str, Layers],
        unheard: Mapping[str, int],
    ) -> Self:
        """A new batch. `unheard` has the number of the oldest change of each user that
        the receiver has not heard. There must be at least one user."""
        now, epoch = truths[0].now, truths[0].epoch
        events = [
            _event(one, layers.get(one.status.user_id, NO_LAYERS), unheard)
            for one in truths
        ]
        body = {
            "type": "presence.changed",
            "timestamp": _iso(now),
            "data": {"events": events},
        }
        sent = tuple(one.sent for one in truths)
        return cls(f"msg_{secrets.token_hex(16)}", orjson.dumps(body), sent, epoch)


def _event(one: Truth, layers: Layers, unheard: Mapping[str, int]) -> dict[str, Any]:
    status = one.status
    is_transition = not status.online or status.updated_at >= unheard[status.user_id]
    kind = status.status if is_transition else "detail_changed"
    event: dict[str, Any] = {
        "type": f"user.{kind}",
        "user_id": status.user_id,
        "status": status.status,
        "version": one.version,
    }
    if status.online:
        event["detail"] = detail_data(detail_of(status, layers, one.now))
    return event


def _iso(now: int) -> str:
    at = datetime.fromtimestamp(now / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def headers(batch: Batch, keys: Iterable[str], now: float) -> dict[str, str]:
    """The headers of an attempt to send `batch` at the time `now` (seconds since the
    epoch). Each of the secrets `keys` signs it."""
    timestamp = str(int(now))
    content = b".".join((batch.id.encode(), timestamp.encode(), batch.body))
    return {
        "content-type": "application/json",
        "webhook-id": batch.id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{_signature(key, content)}" for key in keys),
    }


def _signature(secret: str, content: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(WEBHOOK_SECRET))
    return base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()


def retry_delay(failures: int, failing_for: float) -> float:
    """Seconds until the next attempt, after so many failures in a row in so many
    seconds. Greendot never gives up: the newest state of a user can wait, and does not
    grow."""
    if failing_for >= GIVE_UP_HURRYING:
        return SLOW_RETRY
    return float(min(FIRST_RETRY * 2 ** min(failures - 1, 20), LONGEST_RETRY))
