"""`GET /openapi.json` and the command `flask openapi`: the OpenAPI document of REST.

The document is made on the first request, and kept as bytes. So a gateway that nobody
asks for it spends neither time nor memory on it.
"""

from __future__ import annotations

import click
import orjson
from flask import Blueprint, Flask, Response, current_app, request
from flask.cli import with_appcontext

from app.api.schema.operation import IF_NONE_MATCH, for_anyone
from app.api.schema.operation import Response as Described

blueprint = Blueprint("openapi", __name__)

EXTENSION = "greendot-openapi"
MAX_AGE = 300
"""Seconds for which a cache may keep the document."""


def register(app: Flask) -> None:
    """Serve the document, and add the command."""
    app.register_blueprint(blueprint)
    app.cli.add_command(openapi_command)


@blueprint.get("/openapi.json")
@for_anyone(
    "Server",
    parameters=[IF_NONE_MATCH],
    responses={
        200: Described("The document.", content_type="application/json"),
        304: Described("It has not changed since the answer with that `ETag`."),
    },
)
def openapi_document() -> Response:
    """This document, in OpenAPI 3.1."""
    response = Response(document_bytes(current_app), mimetype="application/json")
    response.cache_control.public = True
    response.cache_control.max_age = MAX_AGE
    response.add_etag()
    response.make_conditional(request)
    return response


def document_bytes(app: Flask) -> bytes:
    """The document of `app` as JSON."""
    found: bytes | None = app.extensions.get(EXTENSION)
    if found is None:
        # Imported here: most gateways never need it.
        from app.api.schema.document import document  # noqa: PLC0415

        found = orjson.dumps(document(app))
        app.extensions[EXTENSION] = found
    return found


@click.command("openapi")
@with_appcontext
def openapi_command() -> None:
    """Print the OpenAPI document of REST."""
    parsed = orjson.loads(document_bytes(current_app))
    click.echo(orjson.dumps(parsed, option=orjson.OPT_INDENT_2))
