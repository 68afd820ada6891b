"""Presence with Flask-SocketIO, as its documentation would have it.

A room per user, the Redis message queue, gunicorn's gevent worker with
simple-websocket, a JWT in the `auth` of the connection. Who is online and who is whose
friend is kept in memory: the quickest way there is, and enough for one process. It
tells every client what Greendot does: a snapshot first, then each change of a friend.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter

import jwt
from flask import Flask, request
from flask_socketio import (
    ConnectionRefusedError,  # noqa: A004 - the library's own name
    SocketIO,
    join_room,
)

from bench.graph import Graph, user_id, user_number

SECRET = os.environ["BENCH_SECRET"]
graph = Graph(**json.loads(os.environ["BENCH_GRAPH"]))

app = Flask(__name__)
socketio = SocketIO(
    app,
    async_mode="gevent",
    message_queue=os.environ["REDIS_URL"],
    transports=["websocket"],
)
friends: dict[str, list[str]] = {
    user_id(number): [user_id(friend) for friend in graph.friends_of(number)]
    for number in range(graph.users)
}
connections: Counter[str] = Counter()
updated_at: dict[str, int] = {}
user_of: dict[str, str] = {}


def authenticated(token: str) -> str:
    """The user whom the token stands for."""
    claims = jwt.decode(token, SECRET, algorithms=["HS256"])
    user_number(claims["sub"])
    return str(claims["sub"])


def announce(user: str, status: str) -> None:
    """Tell the friends who are online."""
    updated_at[user] = time.time_ns() // 1_000_000
    rooms = [friend for friend in friends[user] if connections[friend]]
    if rooms:
        event = {"user_id": user, "status": status, "timestamp": updated_at[user]}
        socketio.emit("friend_status_changed", event, to=rooms)


@socketio.on("connect")
def connect(auth: dict[str, str] | None) -> None:
    """Let the user in, tell the friends, and give the status map."""
    try:
        user = authenticated((auth or {})["token"])
    except (KeyError, jwt.InvalidTokenError):
        message = "unauthorized"
        raise ConnectionRefusedError(message) from None
    sid = request.sid  # type: ignore[attr-defined]
    user_of[sid] = user
    join_room(user)
    connections[user] += 1
    if connections[user] == 1:
        announce(user, "online")
    socketio.emit("presence_snapshot", {"statuses": detailed(user)}, to=sid)


@socketio.on("disconnect")
def disconnect(_reason: str) -> None:
    """Tell the friends when the user's last connection is gone."""
    user = user_of.pop(request.sid, None)  # type: ignore[attr-defined]
    if user is None:
        return
    connections[user] -= 1
    if not connections[user]:
        del connections[user]
        announce(user, "offline")


def detailed(user: str) -> dict[str, dict[str, object]]:
    """The status map of a snapshot."""
    return {
        friend: {
            "status": "online" if connections[friend] else "offline",
            "timestamp": updated_at.get(friend, 0),
        }
        for friend in friends[user]
    }


@app.get("/online-status")
def online_status() -> dict[str, object]:
    """The status map for an application that loads."""
    user = authenticated(request.headers["Authorization"].removeprefix("Bearer "))
    statuses = {friend: connections[friend] > 0 for friend in friends[user]}
    return {"data": {"statuses": statuses}}


@app.get("/healthz")
def healthz() -> str:
    """The process is up."""
    return "ok"
