"""Presence with Flask-SocketIO, as its documentation would have it.

A room per user, the Redis message queue, gunicorn's gevent worker with
simple-websocket, a JWT in the `auth` of the connection. It tells every client what
Greendot does: a snapshot first, then each change of a friend. BENCH_STATE says where it
keeps its state: `memory`, or `shared`.
"""

from __future__ import annotations

import json
import os
import time
from functools import lru_cache

import jwt
from flask import Flask, request
from flask_socketio import (
    ConnectionRefusedError,  # noqa: A004 - the library's own name
    SocketIO,
    join_room,
)

from bench.graph import Graph
from bench.peers.state import Memory, Shared

SECRET = os.environ["BENCH_SECRET"]
REDIS_URL = os.environ["REDIS_URL"]
TOKENS_REMEMBERED = 4096
"""As many verified tokens as Greendot remembers: so that is no difference."""

app = Flask(__name__)
socketio = SocketIO(
    app, async_mode="gevent", message_queue=REDIS_URL, transports=["websocket"]
)
user_of: dict[str, str] = {}


def open_state() -> Memory | Shared:
    """The state that the environment asks for."""
    graph = Graph(**json.loads(os.environ["BENCH_GRAPH"]))
    if os.environ["BENCH_STATE"] == "memory":
        return Memory(graph)
    return Shared(graph, REDIS_URL, os.environ["BENCH_DATABASE"])


state = open_state()


@lru_cache(maxsize=TOKENS_REMEMBERED)
def verified(token: str) -> tuple[str, float]:
    """The user whom the token stands for, and until when."""
    claims = jwt.decode(token, SECRET, algorithms=["HS256"])
    return str(claims["sub"]), float(claims["exp"])


def authenticated(token: str) -> str:
    """The user whom the token stands for now."""
    user, expires_at = verified(token)
    if expires_at <= time.time():
        raise jwt.ExpiredSignatureError
    return user


def announce(user: str, status: str, timestamp: int | None) -> None:
    """Tell the friends who are online, if there is something to tell."""
    if timestamp is None:
        return
    friends = state.friends_of(user)
    online = zip(friends, state.online(friends), strict=True)
    rooms = [friend for friend, here in online if here]
    if rooms:
        event = {"user_id": user, "status": status, "timestamp": timestamp}
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
    announce(user, "online", state.come(user))
    snapshot = {"statuses": state.statuses(state.friends_of(user))}
    socketio.emit("presence_snapshot", snapshot, to=sid)


@socketio.on("disconnect")
def disconnect(_reason: str) -> None:
    """Tell the friends when the user's last connection is gone."""
    user = user_of.pop(request.sid, None)  # type: ignore[attr-defined]
    if user is not None:
        announce(user, "offline", state.go(user))


@app.get("/online-status")
def online_status() -> dict[str, object]:
    """The status map for an application that loads."""
    user = authenticated(request.headers["Authorization"].removeprefix("Bearer "))
    friends = state.friends_of(user)
    statuses = dict(zip(friends, state.online(friends), strict=True))
    return {"data": {"statuses": statuses}}


@app.get("/healthz")
def healthz() -> str:
    """The process is up."""
    return "ok"
