"""What the host application can ask: who is online, and how to reach users.

Every route needs `Authorization: Bearer $PRESENCE_SERVICE_KEY`. The answers are the
truth: users who hide from others are not hidden from the host.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import gevent
import orjson
from flask import Blueprint, request
from sqlalchemy import func, select

from app.api import admin_input, options
from app.api.admin_input import bad_request
from app.auth import require_service_key
from app.errors import ApiError
from app.services import services
from models.batches import batches
from models.detail import NO_LAYERS, Layers, detail_of, set_availability
from models.events import Availability, UserStatus, detail_data
from models.explain import NoSuchUser, explain
from models.presence.presence import OnlineCursor
from models.shown_statuses import add_last_seen
from models.sql.presence_settings import layers_of
from models.sql.user import user_table

blueprint = Blueprint("questions", __name__, url_prefix="/api/admin")

MAX_ASKED = 10_000
"""User ids in one call."""
BODY_BYTES = 2 * 1024 * 1024
"""Enough for that many of the longest ids."""
SLICE = 500
"""Users whose statuses are read and answered at once. In between, the gateway serves
its sockets."""

Answer = dict[str, object]


@blueprint.before_request
def _guard() -> None:
    require_service_key()
    request.max_content_length = BODY_BYTES


@blueprint.post("/online-status")
def online_status() -> Answer:
    """Which of many users are online. With `detail` also since when, and how."""
    fields = admin_input.body()
    asked = _asked(fields)
    wants_detail = fields.get("detail", False)
    if not isinstance(wants_detail, bool):
        raise bad_request(field="detail", takes="takes true or false")
    if not wants_detail:
        return {"data": {"statuses": services().presence.online(asked)}}
    statuses: dict[str, dict[str, object]] = {}
    for status, layers, now in _states(asked, wants_last_seen=True):
        statuses[status.user_id] = {
            "status": status.status,
            "last_seen": status.last_seen,
            "idle_since": status.activity.idle_since,
            "devices": 0,
            "detail": detail_data(detail_of(status, layers, now)),
        }
    for part in batches(asked, SLICE):
        for user_id, count in services().presence.devices(part).items():
            statuses[user_id]["devices"] = count
        gevent.sleep(0)
    return {"data": {"statuses": statuses}}


@blueprint.post("/reachability")
def reachability() -> Answer:
    """How to reach users: by the socket, by a push message, or without a sound."""
    users: dict[str, object] = {}
    for status, layers, now in _states(_asked(admin_input.body())):
        users[status.user_id] = _reachability(status, layers, now)
    return {"data": {"users": users}}


@blueprint.get("/online-users")
def online_users() -> Answer:
    """A page of the users who are online."""
    limit = options.limit()
    cursor = options.cursor(_online_cursor) or OnlineCursor()
    page = services().presence.online_page(cursor, limit)
    following = page.next and options.cursor_text(orjson.dumps(tuple(page.next)))
    return {"data": {"user_ids": page.user_ids, "next_cursor": following}}


@blueprint.get("/stats")
def stats() -> Answer:
    """A few numbers."""
    current = services()
    found = current.presence.stats()
    with current.database.connect() as reader:
        users = reader.scalar(select(func.count()).select_from(user_table))
    return {
        "data": {
            "online_users": found.online_users,
            "connections": found.connections,
            "gateways": found.gateways,
            "users": users,
        }
    }


@blueprint.get("/users/<user_id>/explain")
def explain_user(user_id: str) -> Answer:
    """All that decides what others see of one user, and what `?viewer=` sees."""
    key = admin_input.identifier(user_id, "id")
    viewer = request.args.get("viewer")
    if viewer is not None:
        viewer = admin_input.identifier(viewer, "viewer")
    current = services()
    with current.sessions() as session:
        try:
            found = explain(session, current.presence, key, viewer)
        except NoSuchUser as error:
            raise ApiError(404, "not_found", str(error)) from error
    return {"data": found.data()}


def _asked(fields: Mapping[str, object]) -> list[str]:
    """The `user_ids` of a body, each once."""
    values = admin_input.list_of_ids(fields.get("user_ids"), "user_ids", MAX_ASKED)
    asked: dict[str, None] = {}
    for place, value in enumerate(values):
        asked[admin_input.identifier(value, f"user_ids[{place}]")] = None
        if place % SLICE == SLICE - 1:
            gevent.sleep(0)
    return list(asked)


def _states(
    user_ids: Iterable[str], *, wants_last_seen: bool = False
) -> Iterator[tuple[UserStatus, Layers, int]]:
    """The real status and the layers of each user, and the time of the read (ms). Where
    Redis has no `last_seen`, it is read from the database, if the caller wants it."""
    current = services()
    for part in batches(user_ids, SLICE):
        with current.database.connect() as reader:
            layers = layers_of(reader, part)
        statuses = current.presence.read_statuses(part)
        if wants_last_seen:
            add_last_seen(current.database, statuses)
        for user_id in part:
            now = statuses.clock_of(user_id).now
            yield statuses.found[user_id], layers.get(user_id, NO_LAYERS), now
        gevent.sleep(0)


def _reachability(status: UserStatus, layers: Layers, now: int) -> dict[str, object]:
    """`availability` of a user who is offline is what was set by hand or by the
    host."""
    detail = detail_of(status, layers, now)
    availability = detail.availability if detail else set_availability(layers, now)
    idle_since = status.activity.idle_since
    if availability is Availability.DND:
        suggest = "silent"
    elif status.online and idle_since is None:
        suggest = "socket"
    else:
        suggest = "push"
    return {
        "online": status.online,
        "idle_for": None if idle_since is None else max(0, now - idle_since) / 1000,
        "availability": availability,
        "suggest": suggest,
    }


def _online_cursor(data: bytes) -> OnlineCursor:
    shard, scan, after = orjson.loads(data)
    if 0 <= shard < len(services().presence.shards) and scan.isdecimal():
        return OnlineCursor(shard, scan, str(after))
    raise ValueError
