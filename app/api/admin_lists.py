"""The host application's lists: users, conversations, and the friends and the sessions
of a user.

Every list has an ETag. So a host can check cheaply that both sides agree: if nothing
has changed, a request with `If-None-Match` is answered by 304, without a body.
"""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from app.api import admin_input, options
from app.api.schema import host_answers
from app.api.schema.operation import (
    BAD_REQUEST,
    DATABASE,
    INVALID_ID,
    NOT_FOUND,
    SESSIONS_OFF,
    for_host,
)
from app.auth import require_service_key
from app.errors import ApiError
from app.services import services
from models.events import MAX_TIMESTAMP
from models.identifiers import check_user_id
from models.sql.audience import friends_of
from models.sql.pages import conversations_page, users_page
from models.sql.sessions import sessions_page
from models.sql.user import unknown_users

blueprint = Blueprint("admin_lists", __name__, url_prefix="/api/admin")
blueprint.before_request(require_service_key)

_SESSIONS_OFF = (
    "no sessions are kept: set PRESENCE_SESSION_DAYS to the number of days for which "
    "they are to be kept"
)


@blueprint.get("/users")
@for_host(
    "Users",
    gives=host_answers.UsersPage,
    has_etag=True,
    codes=[BAD_REQUEST, DATABASE],
    parameters=options.PAGE,
)
def list_users() -> Response:
    """A page of all users."""
    after, limit = options.cursor(_id) or "", options.limit()
    with services().database.connect() as reader:
        page = users_page(reader, after, limit)
    users = [{"id": one.id, "display_name": one.display_name} for one in page.items]
    return _with_etag({"users": users, "next_cursor": _next_cursor(page.next)})


@blueprint.get("/conversations")
@for_host(
    "Conversations",
    gives=host_answers.ConversationsPage,
    has_etag=True,
    codes=[BAD_REQUEST, DATABASE],
    parameters=options.PAGE,
)
def list_conversations() -> Response:
    """A page of all conversations, with their participants.

    A page ends early if its conversations have more than 20,000 participants together.
    """
    after, limit = options.cursor(_id) or "", options.limit()
    with services().database.connect() as reader:
        page = conversations_page(reader, after, limit)
    conversations = [
        {"id": one.id, "title": one.title, "participants": one.participants}
        for one in page.items
    ]
    following = _next_cursor(page.next)
    return _with_etag({"conversations": conversations, "next_cursor": following})


@blueprint.get("/users/<user_id>/friends")
@for_host(
    "Friends", gives=host_answers.Friends, has_etag=True, codes=[NOT_FOUND, DATABASE]
)
def get_friends(user_id: str) -> Response:
    """The accepted friends of a user."""
    key = admin_input.identifier(user_id, "id")
    with services().database.connect() as reader:
        friends = friends_of(reader, [key])[key]
        if not friends and unknown_users(reader, [key]):
            raise ApiError(404, "not_found", f"there is no user {key}")
    return _with_etag({"friends": sorted(friends)})


@blueprint.get("/users/<user_id>/sessions")
@for_host(
    "Questions",
    gives=host_answers.SessionsPage,
    has_etag=True,
    codes=[BAD_REQUEST, INVALID_ID, NOT_FOUND, SESSIONS_OFF, DATABASE],
    parameters=(options.SINCE, *options.PAGE),
)
def get_sessions(user_id: str) -> Response:
    """From when to when a user was online.

    Needs `PRESENCE_SESSION_DAYS`. The oldest session comes first.
    """
    key = admin_input.identifier(user_id, "id")
    if not services().settings.session_days:
        raise ApiError(409, SESSIONS_OFF, _SESSIONS_OFF)
    since, limit = options.since(), options.limit()
    after = options.cursor(_version) or 0
    with services().database.connect() as reader:
        page = sessions_page(reader, key, since, after, limit)
        if not page.items and unknown_users(reader, [key]):
            raise ApiError(404, "not_found", f"there is no user {key}")
    following = None if page.next is None else options.cursor_text(b"%d" % page.next)
    sessions = [one._asdict() for one in page.items]
    return _with_etag({"sessions": sessions, "next_cursor": following})


def _with_etag(data: dict[str, object]) -> Response:
    response = jsonify({"data": data})
    response.add_etag()
    # A cache may keep the list, but must ask whether it has changed.
    response.headers["Cache-Control"] = "private, no-cache"
    response.make_conditional(request)
    return response


def _next_cursor(last: str | None) -> str | None:
    return None if last is None else options.cursor_text(last.encode())


def _version(data: bytes) -> int:
    """The version of the transition after which a page begins."""
    if not data.isdigit() or len(data) > len(str(MAX_TIMESTAMP)):
        raise ValueError
    return int(data)


def _id(data: bytes) -> str:
    """The id after which a page begins."""
    return check_user_id(data.decode())
