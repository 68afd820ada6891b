"""What the host application can ask: who is online, and how to reach users.

Every route needs `Authorization: Bearer $PRESENCE_SERVICE_KEY`. The answers are the
truth: users who hide from others are not hidden from the host.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import gevent
import orjson
from flask import Blueprint, request
from msgspec import json
from sqlalchemy import func, select

from app.api import admin_input, options
from app.api.schema import bodies, host_answers
from app.api.schema.fields import Id
from app.api.schema.operation import (
    BAD_REQUEST,
    DATABASE,
    INVALID_ID,
    NOT_FOUND,
    PRESENCE,
    Parameter,
    for_host,
)
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

BODY_BYTES = 2 * 1024 * 1024
"""Enough for as many of the longest ids as one call may have."""
SCAN_CURSORS = 2**64
"""Redis refuses larger numbers."""
SLICE = 500
"""Users whose statuses are read and answered at once. In between, the gateway serves
its sockets."""

VIEWER = Parameter(
    "viewer",
    "A user. The answer says what this user sees.",
    json.schema(Id),
    example="bob",
)

Answer = dict[str, object]


@blueprint.before_request
def _guard() -> None:
    require_service_key()
    request.max_content_length = BODY_BYTES


@blueprint.post("/online-status")
@for_host(
    "Questions",
    takes=bodies.StatusQuestion,
    gives=host_answers.RealStatuses,
    codes=[INVALID_ID, DATABASE, PRESENCE],
)
def online_status() -> Answer:
    """Which of many users are online. With `detail` also since when, and how."""
    question = admin_input.body(bodies.StatusQuestion)
    asked = list(dict.fromkeys(question.user_ids))
    if not question.detail:
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
@for_host(
    "Questions",
    takes=bodies.ReachabilityQuestion,
    gives=host_answers.Reachabilities,
    codes=[INVALID_ID, DATABASE, PRESENCE],
)
def reachability() -> Answer:
    """How to reach users: by the socket, by a push message, or without a sound."""
    asked = dict.fromkeys(admin_input.body(bodies.ReachabilityQuestion).user_ids)
    users: dict[str, object] = {}
    for status, layers, now in _states(asked):
        users[status.user_id] = _reachability(status, layers, now)
    return {"data": {"users": users}}


@blueprint.get("/online-users")
@for_host(
    "Questions",
    gives=host_answers.OnlineUsersPage,
    codes=[BAD_REQUEST, PRESENCE],
    parameters=options.PAGE,
)
def online_users() -> Answer:
    """A page of the users who are online.

    The users have no order. Users who come or go meanwhile may be on a page or not.
    """
    limit = options.limit()
    cursor = options.cursor(_online_cursor) or OnlineCursor()
    page = services().presence.online_page(cursor, limit)
    following = page.next and options.cursor_text(orjson.dumps(tuple(page.next)))
    return {"data": {"user_ids": page.user_ids, "next_cursor": following}}


@blueprint.get("/stats")
@for_host("Questions", gives=host_answers.Stats, codes=[DATABASE, PRESENCE])
def stats() -> Answer:
    """How many users, connections and gateways there are now."""
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
@for_host(
    "Questions",
    gives=host_answers.Explanation,
    codes=[NOT_FOUND, DATABASE, PRESENCE],
    parameters=[VIEWER],
)
def explain_user(user_id: str) -> Answer:
    """All that decides what others see of one user, and what `?viewer=` sees.

    This is for debugging. It changes nothing.
    """
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
    if (
        type(shard) is int
        and 0 <= shard < len(services().presence.shards)
        and isinstance(after, str)
        and 0 <= int(scan) < SCAN_CURSORS
    ):
        return OnlineCursor(shard, str(int(scan)), after)
    raise ValueError
