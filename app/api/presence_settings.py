"""A user's presence settings: who may see whom, and availability, text and emoji.

For the user, and for the host application.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from flask import Blueprint

from app.api import admin_input
from app.api.admin_input import bad_request
from app.auth import require_service_key, require_user, require_user_for_change
from app.errors import ApiError
from app.services import services
from models import fanout
from models.detail import NOTHING_SET, Layer
from models.emoji import is_emoji
from models.events import MAX_TIMESTAMP, Availability
from models.identifiers import InvalidText, check_shown_text
from models.own_settings import settings_data, tell_own_devices
from models.presence import PresenceUnavailable
from models.sql.presence_settings import (
    ALWAYS,
    MAX_EXCEPTIONS,
    NEVER,
    TEXT_LENGTH,
    read_settings,
)
from models.sql.user import unknown_users
from models.visibility import PresenceSettings, Visible

log = logging.getLogger(__name__)

blueprint = Blueprint("presence_settings", __name__, url_prefix="/api")

EXCEPTIONS = (ALWAYS, NEVER)
OF_LAYER = {"availability", "text", "emoji", "expires_at"}
PRIVATE = {"visibility", "last_seen", "exceptions"}
KNOWN = PRIVATE | OF_LAYER
LayerName = Literal["manual", "host"]
Answer = dict[str, object]


@blueprint.get("/me/presence")
def get_mine() -> Answer:
    """The caller's settings, and the caller's real status."""
    return _answer(require_user(), "manual")


@blueprint.patch("/me/presence")
def patch_mine() -> Answer:
    """Change some of the caller's settings."""
    return _patch(require_user_for_change(), "manual")


@blueprint.get("/admin/users/<user_id>/presence")
def get_of_user(user_id: str) -> Answer:
    """The settings and the real status of a user. The availability, text and emoji are
    those that the host has set."""
    require_service_key()
    return _answer(_stored_user(user_id), "host")


@blueprint.patch("/admin/users/<user_id>/presence")
def patch_of_user(user_id: str) -> Answer:
    """Change some of a user's settings."""
    require_service_key()
    return _patch(_stored_user(user_id), "host")


def _stored_user(user_id: str) -> str:
    key = admin_input.identifier(user_id, "id")
    with services().database.connect() as reader:
        if unknown_users(reader, [key]):
            raise ApiError(404, "not_found", f"there is no user {key}")
    return key


def _answer(user_id: str, layer: LayerName) -> Answer:
    current = services()
    with current.sessions() as session:
        settings = read_settings(session, user_id)
    statuses = current.presence.read_statuses([user_id])
    return {"data": settings_data(settings, statuses, user_id, layer)}


def _patch(user_id: str, layer: LayerName) -> Answer:
    fields = admin_input.body()
    current = services()
    can_hide = current.presence.gateway_streams.knows_visibility()
    current.new_users.store([user_id])
    now = current.presence.read_statuses([user_id]).clock_of(user_id).now

    def update(stored: PresenceSettings) -> PresenceSettings:
        new = _parse(user_id, fields, stored, layer, now)
        if new.is_private and not can_hide and PRIVATE & fields.keys():
            message = "a server of an older version is still running; try again soon"
            raise ApiError(503, "older_version_running", message)
        return new

    settings, outdated = current.visibility.change_settings(user_id, update)
    # Read again: the user may have come or gone meanwhile.
    statuses = current.presence.read_statuses([user_id])
    try:
        tell_own_devices(current.presence, user_id, settings, statuses)
        fanout.refresh(current.presence, outdated)
    except PresenceUnavailable as error:
        log.warning("clients do not know the new settings of %s: %s", user_id, error)
    return {"data": settings_data(settings, statuses, user_id, layer)}


def _parse(
    user_id: str,
    fields: Mapping[str, Any],
    stored: PresenceSettings,
    layer: LayerName,
    now: int,
) -> PresenceSettings:
    """`stored`, changed by the `fields` of a call at the time `now` (ms). null takes a
    value back.

    Raises:
        ApiError: a field is unknown, has a wrong value, or may not have it here.
    """
    takes = "takes " + ", ".join(sorted(KNOWN))
    if not fields:
        raise bad_request(field="body", takes=takes)
    if unknown := fields.keys() - KNOWN:
        takes = f"is no setting; the body {takes}"
        raise bad_request(field=min(unknown), takes=takes)
    new = stored
    if "visibility" in fields:
        new = replace(new, visibility=_visible(fields["visibility"], "visibility"))
    if "last_seen" in fields:
        new = replace(new, last_seen=_visible(fields["last_seen"], "last_seen"))
    if "exceptions" in fields:
        always, never = _exceptions(user_id, fields["exceptions"])
        new = replace(new, always=always, never=never)
    if OF_LAYER & fields.keys():
        changed = _layer(fields, getattr(stored.layers, layer).at(now), now)
        new = replace(new, layers=stored.layers._replace(**{layer: changed}))
    if (
        new.makes_invisible
        and not services().settings.allow_invisible
        and {"visibility", "exceptions"} & fields.keys()
    ):
        message = "users of this server may not hide from others"
        raise ApiError(403, "not_allowed", message)
    return new


def _visible(value: object, field: str) -> Visible:
    if value is None:
        return Visible.EVERYONE
    return admin_input.choice(Visible, value, field)


def _layer(fields: Mapping[str, Any], layer: Layer, now: int) -> Layer:
    """`layer`, changed by `fields` at the time `now` (ms)."""
    if "availability" in fields:
        value = fields["availability"]
        chosen = None
        if value is not None:
            chosen = admin_input.choice(Availability, value, "availability")
        # Nobody can be set to active: it takes the value of this layer back.
        if chosen is Availability.ACTIVE:
            chosen = None
        if chosen is not layer.availability:
            layer = layer._replace(availability=chosen, since=now if chosen else 0)
    if "text" in fields:
        layer = layer._replace(text=_text(fields["text"]))
    if "emoji" in fields:
        layer = layer._replace(emoji=_emoji(fields["emoji"]))
    if "expires_at" in fields:
        layer = layer._replace(expires_at=_end(fields["expires_at"], now))
    if layer.is_empty:
        if fields.get("expires_at") is not None:
            takes = "takes a time only together with availability, text or emoji"
            raise bad_request(field="expires_at", takes=takes)
        return NOTHING_SET
    return layer


def _text(value: object) -> str | None:
    if value is None:
        return None
    try:
        return check_shown_text(value, TEXT_LENGTH)
    except InvalidText as error:
        raise bad_request(field="text", takes=str(error)) from error


def _emoji(value: object) -> str | None:
    if value is None or (isinstance(value, str) and is_emoji(value)):
        return value
    raise bad_request(field="emoji", takes="takes one emoji")


def _end(value: object, now: int) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not now < value < MAX_TIMESTAMP:
        takes = "takes a time in the future, in milliseconds since 1970"
        raise bad_request(field="expires_at", takes=takes)
    return value


def _exceptions(user_id: str, value: object) -> tuple[frozenset[str], frozenset[str]]:
    fields = {} if value is None else value
    if not isinstance(fields, dict) or fields.keys() - set(EXCEPTIONS):
        takes = "takes an object with the lists always and never"
        raise bad_request(field="exceptions", takes=takes)
    always, never = (_ids(user_id, fields.get(name), name) for name in EXCEPTIONS)
    if both := always & never:
        takes = f"{min(both)} is in both lists"
        raise bad_request(field="exceptions", takes=takes)
    if len(always) + len(never) > MAX_EXCEPTIONS:
        takes = f"takes at most {MAX_EXCEPTIONS} ids"
        raise bad_request(field="exceptions", takes=takes)
    return always, never


def _ids(user_id: str, value: object, name: str) -> frozenset[str]:
    if value is None:
        return frozenset()
    ids = admin_input.ids(value, f"exceptions.{name}", MAX_EXCEPTIONS)
    if user_id in ids:
        raise bad_request(field=f"exceptions.{name}", takes="takes ids of other users")
    return ids
