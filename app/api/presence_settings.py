"""A user's presence settings: who may see whom, and availability, text and emoji.

For the user, and for the host application.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Literal

from flask import Blueprint
from msgspec import UNSET

from app.api import admin_input
from app.api.schema import answers, bodies
from app.api.schema.fields import end
from app.api.schema.operation import (
    DATABASE,
    FOREIGN_ORIGIN,
    INVALID_ID,
    NOT_ALLOWED,
    NOT_FOUND,
    OLDER_VERSION,
    PRESENCE,
    for_host,
    for_user,
)
from app.api.values import bad_request
from app.auth import require_service_key, require_user, require_user_for_change
from app.errors import ApiError
from app.services import services
from models import fanout
from models.detail import NOTHING_SET, Layer
from models.events import Availability
from models.own_settings import settings_data, tell_own_devices
from models.presence import PresenceUnavailable
from models.sql.presence_settings import ALWAYS, MAX_EXCEPTIONS, NEVER, read_settings
from models.sql.user import unknown_users
from models.visibility import PresenceSettings, Visible

log = logging.getLogger(__name__)

blueprint = Blueprint("presence_settings", __name__, url_prefix="/api")

LayerName = Literal["manual", "host"]
Answer = dict[str, object]


@blueprint.get("/me/presence")
@for_user("Settings", gives=answers.PresenceSettings, codes=[PRESENCE])
def get_my_presence() -> Answer:
    """The caller's settings, and the caller's real status."""
    return _answer(require_user(), "manual")


@blueprint.patch("/me/presence")
@for_user(
    "Settings",
    takes=bodies.SettingsChange,
    gives=answers.PresenceSettings,
    codes=[INVALID_ID, FOREIGN_ORIGIN, NOT_ALLOWED, OLDER_VERSION, PRESENCE],
)
def patch_my_presence() -> Answer:
    """Change some of the caller's settings.

    All sockets of the user get `presence_settings_changed`.
    """
    user_id = require_user_for_change()
    fields = admin_input.body(bodies.SettingsChange)
    return change_presence(user_id, fields, "manual")


@blueprint.get("/admin/users/<user_id>/presence")
@for_host(
    "Settings",
    gives=answers.PresenceSettings,
    codes=[NOT_FOUND, DATABASE, PRESENCE],
)
def get_user_presence(user_id: str) -> Answer:
    """The settings and the real status of a user.

    The availability, text and emoji are those that the host has set.
    """
    require_service_key()
    return _answer(_stored_user(user_id), "host")


@blueprint.patch("/admin/users/<user_id>/presence")
@for_host(
    "Settings",
    takes=bodies.SettingsChange,
    gives=answers.PresenceSettings,
    codes=[NOT_FOUND, NOT_ALLOWED, OLDER_VERSION, DATABASE, PRESENCE],
)
def patch_user_presence(user_id: str) -> Answer:
    """Change some of a user's settings.

    The availability, text and emoji are those of the host. What the user sets wins.
    """
    require_service_key()
    key = _stored_user(user_id)
    return change_presence(key, admin_input.body(bodies.SettingsChange), "host")


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


def change_presence(
    user_id: str, fields: bodies.SettingsChange, layer: LayerName
) -> Answer:
    """Change the settings of a user, and tell the user's devices and viewers.

    Raises:
        ApiError: a field has a wrong value, or may not have it here.
        PresenceUnavailable: the shard of the user did not answer.
    """
    current = services()
    can_hide = current.presence.gateway_streams.knows_visibility()
    current.new_users.store([user_id])
    now = current.presence.read_statuses([user_id]).clock_of(user_id).now

    def update(stored: PresenceSettings) -> PresenceSettings:
        new = _parse(user_id, fields, stored, layer, now)
        if new.is_private and not can_hide and _sets_privacy(fields):
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
    fields: bodies.SettingsChange,
    stored: PresenceSettings,
    layer: LayerName,
    now: int,
) -> PresenceSettings:
    """`stored`, changed by the `fields` of a call at the time `now` (ms). null takes a
    value back.

    Raises:
        ApiError: a field has a wrong value, or may not have it here.
    """
    new = stored
    if fields.visibility is not UNSET:
        new = replace(new, visibility=fields.visibility or Visible.EVERYONE)
    if fields.last_seen is not UNSET:
        new = replace(new, last_seen=fields.last_seen or Visible.EVERYONE)
    if fields.exceptions is not UNSET:
        always, never = _exceptions(user_id, fields.exceptions)
        new = replace(new, always=always, never=never)
    if _sets_layer(fields):
        changed = _layer(fields, getattr(stored.layers, layer).at(now), now)
        new = replace(new, layers=stored.layers._replace(**{layer: changed}))
    if (
        new.makes_invisible
        and not services().settings.allow_invisible
        and (fields.visibility is not UNSET or fields.exceptions is not UNSET)
    ):
        message = "users of this server may not hide from others"
        raise ApiError(403, "not_allowed", message)
    return new


def _sets_privacy(fields: bodies.SettingsChange) -> bool:
    private = (fields.visibility, fields.last_seen, fields.exceptions)
    return any(one is not UNSET for one in private)


def _sets_layer(fields: bodies.SettingsChange) -> bool:
    of_layer = (fields.availability, fields.text, fields.emoji, fields.expires_at)
    return any(one is not UNSET for one in of_layer)


def _layer(fields: bodies.SettingsChange, layer: Layer, now: int) -> Layer:
    """`layer`, changed by `fields` at the time `now` (ms)."""
    if fields.availability is not UNSET:
        # Nobody can be set to active: it takes the value of this layer back.
        is_set = fields.availability not in (None, Availability.ACTIVE)
        chosen = fields.availability if is_set else None
        if chosen is not layer.availability:
            layer = layer._replace(availability=chosen, since=now if chosen else 0)
    if fields.text is not UNSET:
        layer = layer._replace(text=fields.text)
    if fields.emoji is not UNSET:
        layer = layer._replace(emoji=fields.emoji)
    if fields.expires_at is not UNSET:
        layer = layer._replace(expires_at=_end(fields.expires_at, now))
    if layer.is_empty:
        if fields.expires_at is not UNSET and fields.expires_at is not None:
            takes = "takes a time only together with availability, text or emoji"
            raise bad_request(field="expires_at", takes=takes)
        return NOTHING_SET
    return layer


def _end(value: int | None, now: int) -> int | None:
    # A time that has passed is refused in the same words as a time that is none.
    return None if value is None else end(value if value > now else None, "expires_at")


def _exceptions(
    user_id: str, fields: bodies.NewExceptions | None
) -> tuple[frozenset[str], frozenset[str]]:
    found = fields or bodies.NewExceptions()
    always, never = frozenset(found.always or ()), frozenset(found.never or ())
    for name, ids in ((ALWAYS, always), (NEVER, never)):
        if user_id in ids:
            takes = "takes ids of other users"
            raise bad_request(field=f"exceptions.{name}", takes=takes)
    if both := always & never:
        takes = f"{min(both)} is in both lists"
        raise bad_request(field="exceptions", takes=takes)
    if len(always) + len(never) > MAX_EXCEPTIONS:
        takes = f"takes at most {MAX_EXCEPTIONS} ids"
        raise bad_request(field="exceptions", takes=takes)
    return always, never
