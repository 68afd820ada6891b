"""Statuses of the caller's friends and conversation partners, and tickets for /ws."""

from __future__ import annotations

from flask import Blueprint, Flask, Response, current_app
from sqlalchemy import Connection

from app.api.coalescing import CoalescedReads
from app.api.options import DETAIL, wants_detail
from app.api.schema import answers
from app.api.schema.operation import FORBIDDEN, NOT_FOUND, PRESENCE, for_user
from app.auth import require_identity, require_user
from app.errors import ApiError
from app.services import services
from models.events import detail_data
from models.identifiers import InvalidIdentifier, check_user_id
from models.presence.tickets import TICKET_TTL, Ticket
from models.shown_statuses import Rules, ShownStatuses, add_last_seen
from models.sql.audience import (
    friends_of,
    participants_of,
    partners_of,
    relevant_users,
)
from models.sql.db import PersistentReader
from models.sql.presence_settings import layers_of
from models.sql.user import unknown_users

blueprint = Blueprint("presence", __name__, url_prefix="/api")

EXTENSION = "greendot-status-maps"

Answer = dict[str, dict[str, object]]


def register(app: Flask) -> None:
    """Serve these routes."""
    with app.app_context():
        current = services()
    reader = PersistentReader(current.database)
    app.extensions[EXTENSION] = {
        "friends": CoalescedReads(current.presence, reader, friends_of),
        "partners": CoalescedReads(current.presence, reader, partners_of),
    }
    app.register_blueprint(blueprint)


@blueprint.get("/friends/online-status")
@for_user("Presence", gives=answers.StatusMap, codes=[PRESENCE], parameters=[DETAIL])
def friends_online_status() -> Response | Answer:
    """Which of the caller's friends are online."""
    return _status_map("friends")


@blueprint.get("/conversations/online-status")
@for_user("Presence", gives=answers.StatusMap, codes=[PRESENCE], parameters=[DETAIL])
def conversations_online_status() -> Response | Answer:
    """Which of the caller's conversation partners are online."""
    return _status_map("partners")


@blueprint.get("/conversations/<conversation_id>/online-status")
@for_user(
    "Presence",
    gives=answers.StatusMap,
    codes=[FORBIDDEN, NOT_FOUND, PRESENCE],
    parameters=[DETAIL],
)
def conversation_online_status(conversation_id: str) -> Answer:
    """Which participants of a conversation are online, the caller included. Users in a
    blocked pair with the caller are left out."""
    user_id = require_user()
    with services().database.connect() as reader:
        participants = participants_of(reader, _identifier(conversation_id))
        if participants is None:
            message = "there is no such conversation"
            raise ApiError(404, "not_found", message)
        if user_id not in participants:
            message = "you are not in this conversation"
            raise ApiError(403, "forbidden", message)
        relevant = participants & relevant_users(reader, [user_id])[user_id]
        if wants_detail():
            return _with_details(reader, user_id, relevant | {user_id})
        hidden = _rules(reader, user_id).views.hidden_from(user_id)
    statuses = services().presence.online(relevant | {user_id})
    statuses.update(dict.fromkeys(hidden & statuses.keys(), False))
    return {"data": {"statuses": statuses}}


@blueprint.get("/users/<user_id>/status")
@for_user(
    "Presence",
    gives=answers.UserStatus,
    codes=[FORBIDDEN, PRESENCE],
    parameters=[DETAIL],
)
def user_status(user_id: str) -> Answer:
    """The status of one relevant user, or of the caller. Times are in ms."""
    caller = require_user()
    subject = _identifier(user_id)
    current = services()
    with current.database.connect() as reader:
        relevant = relevant_users(reader, [caller])[caller]
        if subject not in relevant | {caller}:
            message = "this user is neither your friend nor in a conversation with you"
            raise ApiError(403, "forbidden", message)
        # The layers before the rules: nobody is shown what a user sets while hiding.
        layers = layers_of(reader, [subject]) if wants_detail() else {}
        rules = _rules(reader, caller)
    statuses = current.presence.read_statuses([subject])
    add_last_seen(current.database, statuses, rules)
    shown = ShownStatuses(rules, statuses, layers)
    if subject == caller:
        status, hidden_by = statuses.found[subject], None
    else:
        status = shown.shown(caller, subject)
        hidden_by = rules.hides_last_seen(caller, subject)
    data: dict[str, object] = {
        "user_id": subject,
        "status": status.status,
        "last_seen": status.last_seen,
        "updated_at": None if hidden_by else status.updated_at or None,
    }
    if hidden_by == "you":
        data["last_seen_hidden_by"] = hidden_by
    if wants_detail():
        data["detail"] = detail_data(shown.detail(status))
    return {"data": data}


@blueprint.post("/ws-ticket")
@for_user("Sign-in", gives=answers.Ticket, codes=[PRESENCE])
def ws_ticket() -> Answer:
    """A ticket that opens one WebSocket of the caller, within 30 seconds.

    Send it as `/ws?ticket=TICKET`. The socket ends with the token of this call.
    """
    caller = require_identity()
    services().limits.ticket(caller.user_id)
    content = Ticket(caller.user_id, caller.issued_at, caller.expires_at)
    ticket = services().presence.tickets.issue(content)
    return {"data": {"ticket": ticket, "expires_in": TICKET_TTL}}


def _with_details(reader: Connection, viewer: str, users: set[str]) -> Answer:
    """The status map of `users`, with details, as `viewer` is shown them."""
    layers = layers_of(reader, users)  # before the rules, as in `user_status`
    rules = _rules(reader, viewer)
    statuses = services().presence.read_statuses(users)
    shown = ShownStatuses(rules, statuses, layers)
    found = [
        statuses.found[user] if user == viewer else shown.known(viewer, user)
        for user in users
    ]
    return {
        "data": {
            "statuses": {one.user_id: one.online for one in found},
            "details": {one.user_id: detail_data(shown.detail(one)) for one in found},
        }
    }


def _rules(reader: Connection, user_id: str) -> Rules:
    return Rules.read(reader, [user_id], may_hide=services().presence.may_hide)


def _status_map(related: str) -> Response | Answer:
    user_id = require_user()
    reads: CoalescedReads = current_app.extensions[EXTENSION][related]
    if wants_detail():
        with services().database.connect() as reader:
            users = reads.related(reader, [user_id])[user_id]
            return _with_details(reader, user_id, users)
    statuses = reads.status_map(user_id)
    if statuses.is_empty:
        # A token is enough to be a user, so this user may not be stored yet. A user
        # with relations is stored, so most calls need no query for this.
        with services().database.connect() as reader:
            unknown = unknown_users(reader, [user_id])
        if unknown:
            services().new_users.store(unknown)
    return Response(statuses.body, mimetype="application/json")


def _identifier(value: str) -> str:
    try:
        return check_user_id(value)
    except InvalidIdentifier as error:
        raise ApiError(400, "invalid_id", str(error)) from None
