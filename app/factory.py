"""Builds the Flask application: one function, read from top to bottom."""

from __future__ import annotations

import re
from typing import Any

import orjson
from flask import Flask, Request, Response
from flask.json.provider import DefaultJSONProvider
from flask.sessions import NullSession, SessionInterface
from flask_cors import CORS
from gevent.queue import LifoQueue
from werkzeug.routing import MapAdapter

from app import cli, errors, origins, request_ids, security_headers
from app.api import (
    admin,
    admin_lists,
    health,
    metrics,
    offload,
    openapi,
    presence,
    presence_settings,
    questions,
    webhooks,
    websocket,
)
from app.demo import routes as demo_routes
from app.gateway.gateway import Gateway
from app.limits import Limits
from app.new_users import NewUsers
from app.operators import routes as operators_routes
from app.revocations import Revocations
from app.services import EXTENSION, Services
from app.threads import in_thread
from app.tokens import Tokens
from config import Settings
from models.presence import Presence
from models.sql.db import POOL_SIZE, WRITERS, make_engine, session_factory
from models.visibility_updater import VisibilityUpdater
from tasks import broadcast, celery_app

MAX_BODY_BYTES = 16 * 1024 * 1024
"""Enough for a bulk call of about 100,000 rows."""


class NoSessions(SessionInterface):
    """Sessions without a cookie. Flask's own would look for a cookie in each
    request."""

    none = NullSession()

    def open_session(self, _app: Flask, _request: Request) -> NullSession:
        """The one session of all requests. Nothing can be written to it."""
        return self.none


class Greendot(Flask):
    """Flask, but only the path selects the route. In Flask the `Upgrade` header does
    too."""

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Like `Flask.create_url_adapter`, but a request for /ws is always treated as a
        WebSocket. `Handshake` checks the headers."""
        adapter = super().create_url_adapter(request)
        if adapter is not None and request is not None:
            adapter.websocket = request.path == websocket.PATH
        return adapter


class CompactJSON(DefaultJSONProvider):
    """JSON by orjson, without spaces, and with the keys in their given order. orjson
    encodes a map of 500 friends in a tenth of the time of Flask's encoder."""

    def dumps(self, obj: Any, **_options: Any) -> str:  # noqa: ANN401 - as in Flask
        """`obj` as JSON text."""
        return orjson.dumps(obj, default=self.default).decode()

    def response(self, *args: Any, **kwargs: Any) -> Response:  # noqa: ANN401
        """The response with `args` or `kwargs` as JSON."""
        obj = self._prepare_response_obj(args, kwargs)
        body = orjson.dumps(obj, default=self.default, option=orjson.OPT_APPEND_NEWLINE)
        return Response(body, mimetype=self.mimetype)


def create_app(settings: Settings) -> Flask:
    """The Flask application for `settings`. Nothing connects yet:
    `app.server.gunicorn_config` starts the gateway in each worker process."""
    app = Greendot(__name__)
    app.json = CompactJSON(app)
    app.session_interface = NoSessions()
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES

    celery_app.configure(settings)
    # gevent's own queue. With the queue of the standard library, a new caller can get a
    # connection before callers that have waited tenths of a second for one.
    state = Presence.open(settings, LifoQueue)
    database = make_engine(
        settings.database_url, size=POOL_SIZE - WRITERS, in_thread=in_thread
    )
    writers = make_engine(settings.database_url, size=WRITERS, in_thread=in_thread)
    new_users = NewUsers(writers)
    tokens = Tokens(settings, Revocations(database))
    gateway = Gateway(settings, state, database, new_users, tokens)
    app.extensions[EXTENSION] = Services(
        settings=settings,
        sessions=session_factory(writers),
        database=database,
        presence=state,
        gateway=gateway,
        limits=Limits(settings, state, gateway.counts),
        tokens=tokens,
        visibility=VisibilityUpdater(
            state,
            session_factory(writers),
            broadcast.request_drain,
        ),
        new_users=new_users,
    )

    request_ids.register(app)
    errors.register(app)
    security_headers.register(app)
    health.register(app)
    metrics.register(app)
    presence.register(app)
    app.register_blueprint(presence_settings.blueprint)
    app.register_blueprint(admin.blueprint)
    app.register_blueprint(admin_lists.blueprint)
    app.register_blueprint(questions.blueprint)
    app.register_blueprint(webhooks.blueprint)
    offload.register(app, create_app)
    websocket.register(app)
    openapi.register(app)
    origins.register(app, settings.allowed_origins)
    demo_routes.register(app)
    operators_routes.register(app)
    cli.register(app)
    if settings.allowed_origins:
        CORS(
            app,
            resources={"/api/*": {"origins": _exactly(settings.allowed_origins)}},
            supports_credentials=True,
        )
    return app


def _exactly(origins: tuple[str, ...]) -> list[re.Pattern[str]]:
    """Patterns that match only these origins. Flask-CORS would read an origin with
    brackets (IPv6) as a pattern."""
    return [re.compile(re.escape(origin) + r"\Z") for origin in origins]
