"""The host application's calls: one method for each route under `/api/admin`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, Self, TypedDict, TypeVar, Unpack
from urllib.parse import quote, urlencode

from greendot_client.records import (
    Changes,
    Conversation,
    Page,
    Reachability,
    Session,
    Settings,
    SignIn,
    Stats,
    User,
    UserStatus,
    WebhookReceiver,
    record,
)
from greendot_client.rest import Rest

Item = TypeVar("Item")
FriendshipStatus = Literal["accepted", "pending", "blocked"]
MAX_PAGE = 1000
"""Items of one page, at most."""


class Deletions(TypedDict, total=False):
    """What `bulk` deletes. What does not exist is ignored."""

    users: Sequence[str]
    friendships: Sequence[Sequence[str]]
    conversations: Sequence[str]


class Bulk(TypedDict, total=False):
    """What `bulk` writes. A friendship is two ids, or two ids and a status."""

    users: Sequence[dict[str, str]]
    friendships: Sequence[Sequence[str]]
    conversations: Sequence[dict[str, Any]]
    delete: Deletions


class Admin:
    """The routes for the host application. Many threads may share one `Admin`, so make
    one at the start of your program. It blocks: with asyncio call its methods by
    `asyncio.to_thread`.

    `url` is that of Greendot and `key` its `PRESENCE_SERVICE_KEY`. `timeout` is in
    seconds, for each attempt. All calls may be repeated, so a call is repeated by
    itself up to `retries` times if Greendot does not answer or says 503.

    Every method raises:
        ApiError: Greendot refused the call. `status`, `code` and `message` say why.
        OSError: Greendot did not answer.

    Raises:
        ValueError: `url` is not an http or https URL.
    """

    def __init__(
        self, url: str, key: str, *, timeout: float = 30.0, retries: int = 2
    ) -> None:
        self._key = key
        self._rest = Rest(url, timeout=timeout, retries=retries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._rest.close()

    # Sign-in

    def sign_in(
        self,
        user_id: str,
        *,
        display_name: str | None = None,
        friends: Iterable[str] | None = None,
    ) -> SignIn:
        """Let a user connect. Creates the user. Sets the display name and replaces the
        friends if they are given, and keeps them otherwise."""
        body: dict[str, object] = {}
        if display_name is not None:
            body["display_name"] = display_name
        if friends is not None:
            body["friends"] = list(friends)
        return record(
            SignIn, self._call("POST", _path("users", user_id, "ticket"), body)
        )

    def revoke(self, user_id: str) -> None:
        """Refuse all tokens and tickets that the user has got up to now, and close the
        sockets that they have opened."""
        self._call("POST", _path("users", user_id, "revoke"))

    def disconnect(self, user_id: str) -> None:
        """Close all sockets of a user. The tokens stay valid."""
        self._call("POST", _path("users", user_id, "disconnect"))

    # Questions

    def online_status(self, user_ids: Iterable[str]) -> dict[str, bool]:
        """Which of at most 10,000 users are online."""
        statuses: dict[str, bool] = self._asked("online-status", user_ids)["statuses"]
        return statuses

    def user_statuses(self, user_ids: Iterable[str]) -> dict[str, UserStatus]:
        """How at most 10,000 users are online."""
        found = self._asked("online-status", user_ids, detail=True)["statuses"]
        return {key: record(UserStatus, one) for key, one in found.items()}

    def reachability(self, user_ids: Iterable[str]) -> dict[str, Reachability]:
        """How to reach each of at most 10,000 users."""
        found = self._asked("reachability", user_ids)["users"]
        return {key: record(Reachability, one) for key, one in found.items()}

    def online_users(self) -> Iterator[str]:
        """The ids of all users who are online. An id may come twice."""
        return self._pages(self.online_users_page)

    def online_users_page(
        self, cursor: str | None = None, *, limit: int = MAX_PAGE
    ) -> Page[str]:
        """One page of the users who are online."""
        data = self._call("GET", _path("online-users", cursor=cursor, limit=limit))
        return Page(data["user_ids"], data["next_cursor"], None)

    def stats(self) -> Stats:
        """How many users, connections and gateways there are."""
        return record(Stats, self._call("GET", _path("stats")))

    def sessions(self, user_id: str, *, since: int | None = None) -> Iterator[Session]:
        """When the user was online since a time in milliseconds. Greendot keeps it if
        `PRESENCE_SESSION_DAYS` is set."""
        return self._pages(
            lambda cursor: self.sessions_page(user_id, cursor, since=since)
        )

    def sessions_page(
        self,
        user_id: str,
        cursor: str | None = None,
        *,
        since: int | None = None,
        limit: int = MAX_PAGE,
    ) -> Page[Session]:
        """One page of the user's sessions."""
        options = {"since": since, "cursor": cursor, "limit": limit}
        data = self._call("GET", _path("users", user_id, "sessions", **options))
        items = [record(Session, one) for one in data["sessions"]]
        return Page(items, data["next_cursor"], None)

    def explain(self, user_id: str, *, viewer: str | None = None) -> dict[str, Any]:
        """What Greendot knows about a user, and what `viewer` sees and why. For people
        who look for a fault: docs/PROTOCOL.md has the fields."""
        return self._call("GET", _path("users", user_id, "explain", viewer=viewer))

    # Users and friends

    def put_user(self, user_id: str, display_name: str) -> User:
        """Create a user, or change the display name."""
        body = {"display_name": display_name}
        return record(User, self._call("PUT", _path("users", user_id), body))

    def user(self, user_id: str) -> User:
        """One user."""
        return record(User, self._call("GET", _path("users", user_id)))

    def delete_user(self, user_id: str) -> None:
        """Delete a user with all friendships, and close the user's sockets."""
        self._call("DELETE", _path("users", user_id))

    def users(self) -> Iterator[User]:
        """All users, in the order of their ids."""
        return self._pages(self.users_page)

    def users_page(
        self, cursor: str | None = None, *, limit: int = MAX_PAGE
    ) -> Page[User]:
        """One page of the users."""
        return self._page(User, "users", cursor, limit)

    def friends(self, user_id: str) -> list[str]:
        """The ids of the user's accepted friends."""
        found: list[str] = self._call("GET", _path("users", user_id, "friends"))[
            "friends"
        ]
        return found

    def replace_friends(self, user_id: str, friends: Iterable[str]) -> list[str]:
        """Replace the user's accepted friends, at most 5,000. Returns those that are
        stored: a blocked pair stays blocked."""
        body = {"friends": list(friends)}
        stored: list[str] = self._call("PUT", _path("users", user_id, "friends"), body)[
            "friends"
        ]
        return stored

    def put_friendship(
        self, a: str, b: str, status: FriendshipStatus = "accepted"
    ) -> None:
        """Create or change the friendship of two users."""
        self._call("PUT", _path("friendships", a, b), {"status": status})

    def delete_friendship(self, a: str, b: str) -> None:
        """Delete the friendship of two users, if there is one."""
        self._call("DELETE", _path("friendships", a, b))

    # Conversations

    def put_conversation(
        self, conversation_id: str, title: str, participants: Iterable[str]
    ) -> Conversation:
        """Create a conversation, or replace its title and its participants, at most
        5,000."""
        body = {"title": title, "participants": list(participants)}
        path = _path("conversations", conversation_id)
        return record(Conversation, self._call("PUT", path, body))

    def conversation(self, conversation_id: str) -> Conversation:
        """One conversation."""
        path = _path("conversations", conversation_id)
        return record(Conversation, self._call("GET", path))

    def delete_conversation(self, conversation_id: str) -> None:
        """Delete a conversation. The users stay."""
        self._call("DELETE", _path("conversations", conversation_id))

    def conversations(self) -> Iterator[Conversation]:
        """All conversations, in the order of their ids."""
        return self._pages(self.conversations_page)

    def conversations_page(
        self, cursor: str | None = None, *, limit: int = MAX_PAGE
    ) -> Page[Conversation]:
        """One page of the conversations."""
        return self._page(Conversation, "conversations", cursor, limit)

    def add_participant(self, conversation_id: str, user_id: str) -> None:
        """Let a user join a conversation."""
        path = _path("conversations", conversation_id, "participants", user_id)
        self._call("POST", path)

    def remove_participant(self, conversation_id: str, user_id: str) -> None:
        """Let a user leave a conversation."""
        path = _path("conversations", conversation_id, "participants", user_id)
        self._call("DELETE", path)

    def bulk(self, **rows: Unpack[Bulk]) -> dict[str, Any]:
        """Write and delete many rows: all of them, or none if one is wrong."""
        return self._call("POST", _path("bulk"), rows)

    # Settings and webhooks

    def settings(self, user_id: str) -> Settings:
        """A user's settings. `availability`, `text`, `emoji` and `expires_at` are those
        that the host has set."""
        return record(Settings, self._call("GET", _path("users", user_id, "presence")))

    def change_settings(self, user_id: str, **changes: Unpack[Changes]) -> Settings:
        """Change some settings of a user. Returns all of them."""
        path = _path("users", user_id, "presence")
        return record(Settings, self._call("PATCH", path, changes))

    def webhooks(self) -> list[WebhookReceiver]:
        """Your servers that hear of changes, and how they are."""
        found = self._call("GET", _path("webhooks"))["webhooks"]
        return [record(WebhookReceiver, one) for one in found]

    def enable_webhook(self, url: str) -> None:
        """Send to a receiver again, at once, after it was disabled or has failed."""
        self._call("POST", _path("webhooks", "enable"), {"url": url})

    def unchanged(self, path: str, etag: str) -> bool:
        """Whether a list is the same as in an answer before, which had `etag`. `path`
        is that of the list, for example `users?limit=1000`."""
        return (
            self._rest.ask("GET", f"/api/admin/{path}", self._key, etag=etag).data
            is None
        )

    def _call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        return self._rest.call(method, path, self._key, body)

    def _asked(
        self, question: str, user_ids: Iterable[str], **options: bool
    ) -> dict[str, Any]:
        body = {"user_ids": list(user_ids), **options}
        return self._call("POST", _path(question), body)

    def _page(
        self, kind: type[Item], name: str, cursor: str | None, limit: int
    ) -> Page[Item]:
        path = _path(name, cursor=cursor, limit=limit)
        data, etag = self._rest.ask("GET", path, self._key)
        assert data is not None  # noqa: S101 - we have sent no ETag
        return Page(
            [record(kind, one) for one in data[name]], data["next_cursor"], etag
        )

    def _pages(self, page: Callable[[str | None], Page[Item]]) -> Iterator[Item]:
        cursor: str | None = None
        while True:
            found = page(cursor)
            yield from found.items
            cursor = found.next_cursor
            if cursor is None:
                return


def _path(*parts: str, **query: str | int | None) -> str:
    """A path under `/api/admin`. Ids may have any character."""
    given = {name: value for name, value in query.items() if value is not None}
    path = "/".join(("/api/admin", *(quote(part, safe="") for part in parts)))
    return f"{path}?{urlencode(given)}" if given else path
