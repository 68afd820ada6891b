"""Greendot from Python.

- `Presence` and `AsyncPresence`: the presence of one user's friends, over a WebSocket.
- `Admin`: what the host application asks and tells Greendot, with the service key.
- `verify_webhook`: check that a webhook comes from Greendot, and read its events.
"""

from greendot_client.admin import Admin
from greendot_client.errors import ApiError, Denied, InvalidWebhook
from greendot_client.presence import AsyncPresence, Presence
from greendot_client.records import (
    Availability,
    Change,
    Changes,
    Conversation,
    Detail,
    Exceptions,
    Page,
    PresenceEvent,
    Reachability,
    Session,
    Settings,
    SignIn,
    Stats,
    User,
    UserStatus,
    Visible,
    WebhookReceiver,
)
from greendot_client.webhooks import verify_webhook

__all__ = [
    "Admin",
    "ApiError",
    "AsyncPresence",
    "Availability",
    "Change",
    "Changes",
    "Conversation",
    "Denied",
    "Detail",
    "Exceptions",
    "InvalidWebhook",
    "Page",
    "Presence",
    "PresenceEvent",
    "Reachability",
    "Session",
    "Settings",
    "SignIn",
    "Stats",
    "User",
    "UserStatus",
    "Visible",
    "WebhookReceiver",
    "verify_webhook",
]
