"""A user's own presence settings: who may see whom. For the user, and for the host."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flask import Blueprint

from app.api import admin_input
from app.api.admin_input import bad_request
from app.auth import require_service_key, require_user, require_user_for_change
from app.errors import ApiError
from app.services import services
from models import events, fanout
from models.presence import PresenceUnavailable
from models.sql.presence_settings import MAX_EXCEPTIONS, read_settings
from models.sql.user import unknown_users
from models.visibility import PresenceSettings, Visible

log = logging.getLogger(__name__)

blueprint = Blueprint("presence_settings", __name__, url_prefix="/api")

EXCEPTIONS = ("always", "never")
Answer = dict[str, object]


@blueprint.get("/me/presence")
def get_mine() -> Answer:
    """The caller's settings, and the caller's real status."""
    return _answer(require_user())


@blueprint.patch("/me/presence")
def patch_mine() -> Answer:
    """Change some of the caller's settings."""
    return _patch(require_user_for_change())


@blueprint.get("/admin/users/<user_id>/presence")
def get_of_user(user_id: str) -> Answer:
    """The settings and the real status of a user."""
    require_service_key()
    return _answer(_stored_user(user_id))


@blueprint.patch("/admin/users/<user_id>/presence")
def patch_of_user(user_id: str) -> Answer:
    """Change some of a user's settings."""
    require_service_key()
    return _patch(_stored_user(user_id))


def _stored_user(user_id: str) -> str:
    key = admin_input.identifier(user_id, "id")
    with services().database.connect() as reader:
        if unknown_users(reader, [key]):
            raise ApiError(404, "not_found", f"there is no user {key}")
    return key


def _answer(user_id: str) -> Answer:
    with services().sessions() as session:
        settings = read_settings(session, user_id)
    return {"data": _data(user_id, settings)}


def _patch(user_id: str) -> Answer:
    fields = admin_input.body()
    _parse(user_id, fields, PresenceSettings())  # refuse it before anything is stored
    current = services()
    if not current.presence.gateway_streams.knows_visibility():
        message = "a server of an older version is still running; try again soon"
        raise ApiError(503, "older_version_running", message)
    with current.database.connect() as reader:
        unknown = unknown_users(reader, [user_id])
    if unknown:
        current.new_users.store(unknown)
    settings, outdated = current.visibility.change_settings(
        user_id, lambda stored: _parse(user_id, fields, stored)
    )
    data = _data(user_id, settings)
    try:
        event = events.presence_settings_changed(data)
        fanout.tell_devices(current.presence, user_id, event)
        fanout.refresh(current.presence, outdated)
    except PresenceUnavailable as error:
        log.warning("clients do not know the new settings of %s: %s", user_id, error)
    return {"data": data}


def _data(user_id: str, settings: PresenceSettings) -> dict[str, object]:
    (status,) = services().presence.statuses([user_id])
    return {
        "visibility": settings.visibility,
        "last_seen": settings.last_seen,
        "exceptions": {name: sorted(getattr(settings, name)) for name in EXCEPTIONS},
        "status": status.status,
    }


def _parse(
    user_id: str, fields: Mapping[str, Any], stored: PresenceSettings
) -> PresenceSettings:
    """`stored`, changed by the `fields` of a call. null takes a value back.

    Raises:
        ApiError: a field is unknown, has a wrong value, or may not have it here.
    """
    known = {"visibility", "last_seen", "exceptions"}
    takes = "takes " + ", ".join(sorted(known))
    if not fields:
        raise bad_request(field="body", takes=takes)
    if unknown := fields.keys() - known:
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
    if (
        new.hides
        and not services().settings.allow_invisible
        and {"visibility", "exceptions"} & fields.keys()
    ):
        message = "users of this server may not hide from others"
        raise ApiError(403, "not_allowed", message)
    return new


def _visible(value: object, field: str) -> Visible:
    if value is None:
        return Visible.EVERYONE
    try:
        return Visible.parse(value)
    except ValueError as error:
        raise bad_request(field=field, takes=str(error)) from error


def _exceptions(user_id: str, value: object) -> tuple[frozenset[str], frozenset[str]]:
    fields = {} if value is None else value
    if not isinstance(fields, dict) or fields.keys() - set(EXCEPTIONS):
        takes = "takes an object with the lists always and never"
        raise bad_request(field="exceptions", takes=takes)
    always, never = (_ids(user_id, fields, name) for name in EXCEPTIONS)
    if both := always & never:
        takes = f"{min(both)} is in both lists"
        raise bad_request(field="exceptions", takes=takes)
    if len(always) + len(never) > MAX_EXCEPTIONS:
        takes = f"takes at most {MAX_EXCEPTIONS} ids"
        raise bad_request(field="exceptions", takes=takes)
    return always, never


def _ids(user_id: str, fields: Mapping[str, Any], name: str) -> frozenset[str]:
    field = f"exceptions.{name}"
    values = fields.get(name)
    if values is None:
        return frozenset()
    if not isinstance(values, list):
        raise bad_request(field=field, takes="takes a list of user ids")
    if len(values) > MAX_EXCEPTIONS:
        raise bad_request(field=field, takes=f"takes at most {MAX_EXCEPTIONS} ids")
    ids = frozenset(
        admin_input.identifier(value, f"{field}[{place}]")
        for place, value in enumerate(values)
    )
    if user_id in ids:
        raise bad_request(field=field, takes="takes ids of other users")
    return ids
