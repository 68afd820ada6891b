"""Webhooks of Greendot: https://www.standardwebhooks.com, version 1."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Iterable, Mapping

from greendot_client.errors import InvalidWebhook
from greendot_client.records import PresenceEvent, record

TOLERANCE = 300
"""Seconds by which the time of a request may differ from ours. The specification leaves
it open; five minutes is what its own libraries take."""
_PREFIX = "whsec_"
_TYPE = "presence.changed"


def verify_webhook(
    secrets: str | Iterable[str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: float | None = None,
) -> list[PresenceEvent]:
    """The events of a webhook, if one of `secrets` (`whsec_...`) has signed it.

    `headers` are all headers of the request, in upper or lower case. `body` is the body
    as it came: a body that was decoded and encoded again has another signature. `now`
    is in seconds since the epoch, by default the present time. A webhook of another
    type has no events.

    Raises:
        InvalidWebhook: no secret has signed it, it is older than five minutes, or a
            header is missing.
        ValueError: a secret is not of the form `whsec_...`.
    """
    keys = [_key(one) for one in ([secrets] if isinstance(secrets, str) else secrets)]
    named = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, sent_at = named["webhook-id"], named["webhook-timestamp"]
        signatures = named["webhook-signature"].split()
        age = (time.time() if now is None else now) - int(sent_at)
    except (KeyError, ValueError) as error:
        message = "the headers are not those of a webhook"
        raise InvalidWebhook(message) from error
    if abs(age) > TOLERANCE:
        message = f"the webhook was sent {age:.0f} seconds ago"
        raise InvalidWebhook(message)
    signed = b".".join((message_id.encode(), sent_at.encode(), body))
    expected = [_signature(key, signed) for key in keys]
    if not any(
        hmac.compare_digest(one.encode(), other.encode())
        for one in signatures
        for other in expected
    ):
        message = "none of the secrets has signed the webhook"
        raise InvalidWebhook(message)
    return _events(body)


def _key(secret: str) -> bytes:
    if secret.startswith(_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            pass
    message = f"a webhook secret has the form {_PREFIX}..., with base64 at the end"
    raise ValueError(message)


def _signature(key: bytes, signed: bytes) -> str:
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def _events(body: bytes) -> list[PresenceEvent]:
    try:
        content = json.loads(body)
        if content["type"] != _TYPE:
            return []
        return [record(PresenceEvent, one) for one in content["data"]["events"]]
    except (ValueError, LookupError, TypeError) as error:
        message = "the webhook is not in Greendot's format"
        raise InvalidWebhook(message) from error
