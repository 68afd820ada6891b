"""Wires the web process: one function, readable from top to bottom."""

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

from app import cli, errors, origins
from app.api import admin, health, metrics, offload, presence, websocket
from app.demo import routes as demo_routes
from app.gateway.gateway import Gateway
from app.new_users import NewUsers
from app.services import EXTENSION, Services
from app.threads import in_thread
from config import Settings
from models.presence import Presence
from models.sql.db import POOL_SIZE, WRITERS, make_engine, session_factory
from tasks import celery_app

MAX_BODY_BYTES = 16 * 1024 * 1024
"""Enough for a bulk call of some 100,000 rows."""


class NoSessions(SessionInterface):
    """No cookie of Flask's own, which would be looked for at each request."""

    none = NullSession()

    def open_session(self, _app: Flask, _request: Request) -> NullSession:
        """The same for all: nothing can be written into it."""
        return self.none


class Greendot(Flask):
    """Flask, but the path alone decides the route: an `Upgrade` header does not."""

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """As Flask has it, for any protocol: `Handshake` looks at the headers."""
        adapter = super().create_url_adapter(request)
        if adapter is not None and request is not None:
            adapter.websocket = request.path == websocket.PATH
        return adapter


class CompactJSON(DefaultJSONProvider):
    """JSON as answers need it: in the order given, without blanks. By orjson, which
    writes a map of 500 friends in a tenth of the time."""

    def dumps(self, obj: Any, **_options: Any) -> str:  # noqa: ANN401 - as Flask has it
        """`obj` as JSON."""
        return orjson.dumps(obj, default=self.default).decode()

    def response(self, *args: Any, **kwargs: Any) -> Response:  # noqa: ANN401
        """The answer that holds `args` or `kwargs`."""
        obj = self._prepare_response_obj(args, kwargs)
        body = orjson.dumps(obj, default=self.default, option=orjson.OPT_APPEND_NEWLINE)
        return Response(body, mimetype=self.mimetype)


def create_app(settings: Settings) -> Flask:
    """The Flask application. Nothing connects yet: `app.server.gunicorn_config` starts
    the gateway in each worker process."""
    app = Greendot(__name__)
    app.json = CompactJSON(app)
    app.session_interface = NoSessions()
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES

    celery_app.configure(settings)
    # gevent's own queue: that of the standard library lets the last one who asks for a
    # connection overtake who waits for one, for tenths of a second.
    state = Presence.open(settings, LifoQueue)
    database = make_engine(
        settings.database_url, size=POOL_SIZE - WRITERS, in_thread=in_thread
    )
    writers = make_engine(settings.database_url, size=WRITERS, in_thread=in_thread)
    new_users = NewUsers(writers)
    app.extensions[EXTENSION] = Services(
        settings=settings,
        sessions=session_factory(writers),
        database=database,
        presence=state,
        gateway=Gateway(settings, state, database, new_users),
        new_users=new_users,
    )

    errors.register(app)
    health.register(app)
    app.register_blueprint(metrics.blueprint)
    presence.register(app)
    app.register_blueprint(admin.blueprint)
    offload.register(app, create_app)
    websocket.register(app)
    origins.register(app, settings.allowed_origins)
    demo_routes.register(app)
    cli.register(app)
    if settings.allowed_origins:
        CORS(
            app,
            resources={"/api/*": {"origins": _exactly(settings.allowed_origins)}},
            supports_credentials=True,
        )
    return app


def _exactly(origins: tuple[str, ...]) -> list[re.Pattern[str]]:
    """Patterns for Flask-CORS, which takes a text with brackets (IPv6) for one."""
    return [re.compile(re.escape(origin) + r"\Z") for origin in origins]
