"""The host application's routes for its users, friendships and conversations, and the
sign-in of a user.

Every route needs `Authorization: Bearer $PRESENCE_SERVICE_KEY` and is idempotent. PUT
answers with what is stored now: 201 if it is new, 200 if it existed. DELETE answers
204, even if nothing existed. After the commit of a change, online users are notified.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from flask import Blueprint, Response, request
from sqlalchemy.orm import Session
from werkzeug.exceptions import RequestEntityTooLarge

from app.announce import commit_and_announce, disconnect_user, revoke_user
from app.api import admin_input
from app.api.offload import (
    is_large_bulk,
    is_large_conversation,
    is_large_list_of_friends,
    is_offloaded,
    serve_offloaded,
)
from app.api.schema import bodies, host_answers
from app.api.schema.operation import (
    BAD_REQUEST,
    DATABASE,
    INVALID_ID,
    NOT_FOUND,
    PRESENCE,
    UNKNOWN_USER,
    for_host,
)
from app.auth import require_service_key
from app.errors import ApiError
from app.services import services
from app.tokens import issue_token
from models.presence.tickets import TICKET_TTL, Ticket
from models.sql import graph
from models.sql.audience import friends_of, participants_of
from models.sql.conversation import Conversation, Participant
from models.sql.friendship import Friendship, canonical
from models.sql.graph import (
    GraphChange,
    TooManyParticipants,
    UnknownConversation,
    UnknownUser,
)
from models.sql.revocations import next_issue
from models.sql.user import User

blueprint = Blueprint("admin", __name__, url_prefix="/api/admin")

# Ten thousand users, as many friendships and as many conversations are about 3 MB.
BULK_BYTES = 16 * 1024 * 1024
# The longest list is one of 5,000 ids with 128 characters each.
LIST_BYTES = 1024 * 1024
BODY_BYTES = 256 * 1024
_MOST_BYTES = {
    "admin.post_bulk": BULK_BYTES,
    "admin.put_conversation": LIST_BYTES,
    "admin.put_friends": LIST_BYTES,
    "admin.post_ticket": LIST_BYTES,
}
TOKEN_LIFETIME = 3600
"""Seconds that the token lasts which the host gets with a ticket."""

Answer = tuple[dict[str, object], int]
NOTHING = ("", 204)


@blueprint.before_request
def _guard() -> Response | None:
    require_service_key()
    request.max_content_length = _MOST_BYTES.get(request.endpoint or "", BODY_BYTES)
    # If the body has no Content-Length, werkzeug reads only up to the limit.
    if len(request.get_data()) >= request.max_content_length:
        raise RequestEntityTooLarge
    return serve_offloaded() if not is_offloaded() and _is_large() else None


def _is_large() -> bool:
    if request.endpoint == "admin.post_bulk":
        return is_large_bulk()
    named = request.view_args or {}
    if request.endpoint in {"admin.put_conversation", "admin.delete_conversation"}:
        return is_large_conversation(named["conversation_id"])
    if request.endpoint in {"admin.put_friends", "admin.post_ticket"}:
        return is_large_list_of_friends(named["user_id"])
    return False


@blueprint.put("/users/<user_id>")
@for_host(
    "Users",
    takes=bodies.UserName,
    gives=host_answers.User,
    creates=True,
    codes=[DATABASE],
)
def put_user(user_id: str) -> Answer:
    """Create or rename a user."""
    key = admin_input.identifier(user_id, "id")
    name = admin_input.body(bodies.UserName).display_name
    with services().sessions() as session:
        created = session.get(User, key) is None
        _commit(session, lambda: graph.put_user(session, key, name))
    return _stored(_user(key, name), created=created)


@blueprint.get("/users/<user_id>")
@for_host("Users", gives=host_answers.User, codes=[NOT_FOUND, DATABASE])
def get_user(user_id: str) -> Answer:
    """One user."""
    key = admin_input.identifier(user_id, "id")
    with services().sessions() as session:
        user = session.get(User, key)
    if user is None:
        raise _not_found(what="user", key=key)
    return _stored(_user(user.id, user.display_name))


@blueprint.delete("/users/<user_id>")
@for_host("Users", codes=[DATABASE])
def delete_user(user_id: str) -> tuple[str, int]:
    """Delete a user with all relations, and close the user's sockets."""
    key = admin_input.identifier(user_id, "id")
    with services().sessions() as session:
        _commit(session, lambda: graph.delete_user(session, key), disconnects=[key])
    return NOTHING


@blueprint.post("/users/<user_id>/disconnect")
@for_host("Sign-in", codes=[PRESENCE])
def post_disconnect(user_id: str) -> tuple[str, int]:
    """Close all sockets of a user, for example after a logout at the host.

    The close code is 4403. The tokens of the user stay valid.
    """
    disconnect_user(admin_input.identifier(user_id, "id"))
    return NOTHING


@blueprint.post("/users/<user_id>/revoke")
@for_host("Sign-in", codes=[DATABASE])
def post_revoke(user_id: str) -> tuple[str, int]:
    """Refuse all tokens and tickets that the user has got up to now, and close their
    sockets.

    The close code is 4401. The host may sign the user in again at once.
    """
    revoke_user(admin_input.identifier(user_id, "id"))
    return NOTHING


@blueprint.post("/users/<user_id>/ticket")
@for_host(
    "Sign-in",
    takes=bodies.SignIn,
    body_is_optional=True,
    gives=host_answers.SignedIn,
    codes=[DATABASE, PRESENCE],
)
def post_ticket(user_id: str) -> Answer:
    """Sign a user in: store the user as the host describes it, and answer with a ticket
    that opens one WebSocket, and with a token for REST.

    The call creates the user, and creates friends that do not exist. It replaces the
    friends and sets the display name if they are given. The ticket opens
    `/ws?ticket=TICKET` once. If Greendot verifies tokens with public keys, it cannot
    sign any, so the answer has only the ticket.
    """
    key = admin_input.identifier(user_id, "id")
    user = admin_input.signed_in(key, admin_input.optional_body(bodies.SignIn))
    current = services()
    with current.sessions() as session:
        _commit(
            session,
            lambda: graph.sign_in(session, key, user.display_name, user.friends),
        )
        # The host may revoke a user and sign the user in again within one second.
        now = next_issue(session, key, int(time.time()))
    answer: dict[str, object] = {
        "ticket": current.presence.tickets.issue(Ticket(key, now, None)),
        "expires_in": TICKET_TTL,
    }
    if current.settings.jwt_secrets:
        token = issue_token(current.settings, key, TOKEN_LIFETIME, now)
        answer |= {"token": token, "token_expires_in": TOKEN_LIFETIME}
    return _stored(answer)


@blueprint.put("/users/<user_id>/friends")
@for_host(
    "Friends", takes=bodies.FriendList, gives=host_answers.Friends, codes=[DATABASE]
)
def put_friends(user_id: str) -> Answer:
    """Replace the accepted friends of a user. Blocked pairs stay blocked.

    It creates users who do not exist, with the id as display name. A pending pair in
    the list becomes accepted. All other accepted friendships of the user are deleted.
    The answer has the friends that are stored, so it leaves out blocked pairs.
    """
    key = admin_input.identifier(user_id, "id")
    friends = admin_input.friends(key, admin_input.body(bodies.FriendList).friends)
    with services().sessions() as session:
        _commit(session, lambda: graph.put_friends(session, key, friends))
        stored = friends_of(session, [key])[key]
    return _stored({"friends": sorted(stored)})


@blueprint.put("/friendships/<a>/<b>")
@for_host(
    "Friends",
    takes=bodies.FriendshipState,
    gives=host_answers.Friendship,
    creates=True,
    codes=[UNKNOWN_USER, DATABASE],
)
def put_friendship(a: str, b: str) -> Answer:
    """Create a friendship, or set its status. The order of the two users does not
    matter."""
    pair = canonical(*admin_input.pair(a, b, "path"))
    status = admin_input.body(bodies.FriendshipState).status
    with services().sessions() as session:
        created = session.get(Friendship, pair) is None
        _commit(session, lambda: graph.put_friendship(session, *pair, status))
    stored = {"user_a": pair[0], "user_b": pair[1], "status": status.value}
    return _stored(stored, created=created)


@blueprint.delete("/friendships/<a>/<b>")
@for_host("Friends", codes=[BAD_REQUEST, DATABASE])
def delete_friendship(a: str, b: str) -> tuple[str, int]:
    """Delete a friendship, whatever its status."""
    pair = admin_input.pair(a, b, "path")
    with services().sessions() as session:
        _commit(session, lambda: graph.delete_friendship(session, *pair))
    return NOTHING


@blueprint.put("/conversations/<conversation_id>")
@for_host(
    "Conversations",
    takes=bodies.ConversationContent,
    gives=host_answers.Conversation,
    creates=True,
    codes=[UNKNOWN_USER, DATABASE],
)
def put_conversation(conversation_id: str) -> Answer:
    """Create or replace a conversation, with all its participants."""
    key = admin_input.identifier(conversation_id, "id")
    record = admin_input.conversation(key, admin_input.body(bodies.ConversationContent))
    with services().sessions() as session:
        created = session.get(Conversation, key) is None
        _commit(
            session,
            lambda: graph.put_conversation(
                session, key, record.title, record.participants
            ),
        )
    stored = _conversation(key, record.title, record.participants)
    return _stored(stored, created=created)


@blueprint.get("/conversations/<conversation_id>")
@for_host("Conversations", gives=host_answers.Conversation, codes=[NOT_FOUND, DATABASE])
def get_conversation(conversation_id: str) -> Answer:
    """One conversation with its participants."""
    key = admin_input.identifier(conversation_id, "id")
    with services().sessions() as session:
        conversation = session.get(Conversation, key)
        members = participants_of(session, key)
    if conversation is None or members is None:
        raise _not_found(what="conversation", key=key)
    return _stored(_conversation(key, conversation.title, members))


@blueprint.delete("/conversations/<conversation_id>")
@for_host("Conversations", codes=[DATABASE])
def delete_conversation(conversation_id: str) -> tuple[str, int]:
    """Delete a conversation."""
    key = admin_input.identifier(conversation_id, "id")
    with services().sessions() as session:
        _commit(session, lambda: graph.delete_conversation(session, key))
    return NOTHING


@blueprint.post("/conversations/<conversation_id>/participants/<user_id>")
@for_host(
    "Conversations",
    gives=host_answers.Participant,
    creates=True,
    codes=[BAD_REQUEST, NOT_FOUND, UNKNOWN_USER, DATABASE],
)
def post_participant(conversation_id: str, user_id: str) -> Answer:
    """Add a user to a conversation.

    The answer is 400 if the conversation is full.
    """
    key = admin_input.identifier(conversation_id, "conversation")
    user = admin_input.identifier(user_id, "user")
    with services().sessions() as session:
        created = session.get(Participant, (key, user)) is None
        _commit(session, lambda: graph.add_participant(session, key, user))
    return _stored({"conversation_id": key, "user_id": user}, created=created)


@blueprint.delete("/conversations/<conversation_id>/participants/<user_id>")
@for_host("Conversations", codes=[DATABASE])
def delete_participant(conversation_id: str, user_id: str) -> tuple[str, int]:
    """Take a user out of a conversation."""
    key = admin_input.identifier(conversation_id, "conversation")
    user = admin_input.identifier(user_id, "user")
    with services().sessions() as session:
        _commit(session, lambda: graph.remove_participant(session, key, user))
    return NOTHING


@blueprint.post("/bulk")
@for_host(
    "Bulk",
    takes=bodies.BulkChange,
    gives=host_answers.BulkCounts,
    codes=[INVALID_ID, UNKNOWN_USER, DATABASE],
)
def post_bulk() -> Answer:
    """Create or replace users, friendships and conversations, and delete others, all or
    nothing.

    A friendship is `["a", "b"]`, or `["a", "b", "status"]`. A call that creates or uses
    something and also deletes it gets 400. The body may have up to 16 MiB. A large call
    runs in a separate process, and takes about a second longer.
    """
    bulk = admin_input.bulk(admin_input.body(bodies.BulkChange))
    with services().sessions() as session:
        _commit(
            session,
            lambda: graph.load_bulk(
                session,
                bulk.users,
                bulk.friendships,
                bulk.conversations,
                bulk.deletions,
            ),
            disconnects=bulk.deletions.users,
        )
    counts = {
        "users": len(bulk.users),
        "friendships": len(bulk.friendships),
        "conversations": len(bulk.conversations),
    }
    return _stored(counts)


def _commit(
    session: Session,
    write: Callable[[], GraphChange],
    disconnects: Collection[str] = (),
) -> None:
    """Write, commit, then announce. A change that is rolled back is never announced."""
    with _refusals():
        change = write()
    commit_and_announce(session, change, disconnects)


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except UnknownUser as error:
        raise ApiError(409, "unknown_user", str(error)) from error
    except UnknownConversation as error:
        raise ApiError(404, "not_found", str(error)) from error
    except TooManyParticipants as error:
        raise admin_input.bad_request(field="participants", takes=str(error)) from error


def _stored(data: object, *, created: bool = False) -> Answer:
    return {"data": data}, 201 if created else 200


def _not_found(*, what: str, key: str) -> ApiError:
    return ApiError(404, "not_found", f"there is no {what} {key}")


def _user(key: str, name: str) -> dict[str, str]:
    return {"id": key, "display_name": name}


def _conversation(
    key: str, title: str, members: frozenset[str] | set[str]
) -> dict[str, object]:
    return {"id": key, "title": title, "participants": sorted(members)}
