"""A user's own presence settings, as the user's devices get them."""

from __future__ import annotations

from typing import Literal

from models import events, fanout
from models.detail import detail_of
from models.presence import Presence
from models.presence.presence import Statuses
from models.visibility import PresenceSettings


def settings_data(
    settings: PresenceSettings,
    statuses: Statuses,
    user_id: str,
    layer: Literal["manual", "host"] = "manual",
) -> dict[str, object]:
    """The data of an answer or event: the privacy settings, what `layer` sets, and the
    user's real status and detail."""
    now = statuses.clock_of(user_id).now
    status = statuses.found[user_id]
    chosen = getattr(settings.layers, layer).at(now)
    return {
        "visibility": settings.visibility,
        "last_seen": settings.last_seen,
        "exceptions": {
            "always": sorted(settings.always),
            "never": sorted(settings.never),
        },
        "availability": chosen.availability,
        "text": chosen.text,
        "emoji": chosen.emoji,
        "expires_at": chosen.expires_at,
        "status": status.status,
        "detail": events.detail_data(detail_of(status, settings.layers, now)),
    }


def tell_own_devices(
    presence: Presence, user_id: str, settings: PresenceSettings, statuses: Statuses
) -> None:
    """Send the new settings to all sockets of the user.

    Raises:
        PresenceUnavailable: a shard did not answer; some sockets may have it.
    """
    data = settings_data(settings, statuses, user_id)
    event = events.presence_settings_changed(data)
    fanout.send_to_devices(presence, user_id, event)
