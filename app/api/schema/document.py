"""The OpenAPI 3.1 document of the application's routes."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any

import msgspec
from flask import Flask
from msgspec import json
from werkzeug.routing import Rule

from app.api.schema import answers
from app.api.schema.checks import Body
from app.api.schema.fields import Id
from app.api.schema.operation import (
    CODES,
    IF_NONE_MATCH,
    INVALID_ID,
    Caller,
    Operation,
    Parameter,
    Response,
    operation_of,
)
from config import PROJECT_ROOT

Object = dict[str, Any]

JSON = "application/json"
REF = "#/components/schemas/{name}"

DESCRIPTION = """
Greendot is a self-hosted presence service: it tells applications who is online.

- **Callers.** A user calls with a token, as `Authorization: Bearer TOKEN` or in the
  cookie `presence_token`. The host application calls with the service key.
- **Answers** are `{"data": ...}`. An error is `{"error": {"code", "message"}}`.
  Programs read the `code`. Later versions may add fields: ignore fields that you do not
  know.
- **Bodies** are JSON in UTF-8. The content type is ignored.
- **Times** are whole milliseconds since the epoch (1970). Durations are in seconds.
- **Ids** are opaque strings, chosen by the host application. In a path, `|` and `+` may
  stand as they are or percent-encoded. In a query string send `+` as `%2B`.
- Any call may also be answered with 500, if the server has a bug or Redis refuses a
  command. The server's log then has the details.

The WebSocket `/ws` is described by docs/asyncapi.yaml. docs/PROTOCOL.md has the rules
for clients.
"""

TAGS = {
    "Presence": "What a user asks about friends and conversation partners.",
    "Settings": "Who may see a user, and availability, text and emoji.",
    "Sign-in": "Tickets and tokens.",
    "Users": "The users of the host application.",
    "Friends": "Friendships between users.",
    "Conversations": "Conversations, whose participants see each other.",
    "Bulk": "Many changes in one call.",
    "Questions": "What the host asks. Users who hide are not hidden from the host.",
    "Webhooks": "The receivers of `PRESENCE_WEBHOOK_URLS`.",
    "Server": "For probes, monitoring and tools.",
}

SECURITY: dict[Caller, list[Object]] = {
    "anyone": [],
    "user": [{"token": []}, {"tokenCookie": []}],
    "host": [{"serviceKey": []}],
}

SECURITY_SCHEMES: Object = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A token of the user. Its `sub` is the user's id.",
    },
    "tokenCookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "presence_token",
        "description": (
            "A token of the user. A call that changes something also needs an `Origin`:"
            " that of the server, or one of `PRESENCE_ALLOWED_ORIGINS`."
        ),
    },
    "serviceKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "`PRESENCE_SERVICE_KEY`, which only the host's server knows.",
    },
}

PATH_PARAMETERS = {
    "user_id": ("The id of the user.", "ann"),
    "conversation_id": ("The id of the conversation.", "lunch"),
    "a": ("The id of a user. The order of the two does not matter.", "ann"),
    "b": ("The id of another user.", "bob"),
}

HEADERS: dict[int, Object] = {
    401: {"WWW-Authenticate": {"schema": {"const": "Bearer"}}},
    426: {
        "Sec-WebSocket-Version": {"schema": {"const": "13"}},
        "Upgrade": {"schema": {"const": "websocket"}},
    },
    429: {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}},
    503: {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}},
}

ETAG = {"ETag": {"$ref": "#/components/headers/ETag"}}
NOT_MODIFIED = {
    "description": "Nothing has changed since the answer with that `ETag`.",
    "headers": ETAG,
}


def described_rules(app: Flask) -> list[tuple[Rule, Operation]]:
    """The URL rules of `app` that are described, in the order of the tags."""
    found = [
        (rule, operation)
        for rule in app.url_map.iter_rules()
        if (operation := operation_of(app.view_functions[rule.endpoint])) is not None
    ]
    order = list(TAGS)
    return sorted(found, key=lambda pair: (order.index(pair[1].tag), pair[0].rule))


def path_of(rule: Rule) -> str:
    """The path of `rule` as OpenAPI writes it."""
    return rule.rule.replace("<", "{").replace(">", "}")


def methods_of(rule: Rule) -> list[str]:
    """The methods of `rule`, without those that Flask adds."""
    return sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})


def document(app: Flask) -> Object:
    """The OpenAPI document of `app`."""
    rules = described_rules(app)
    paths: dict[str, Object] = {}
    for rule, operation in rules:
        view = app.view_functions[rule.endpoint]
        for method in methods_of(rule):
            paths.setdefault(path_of(rule), {})[method.lower()] = _operation(
                operation, rule, inspect.getdoc(view) or "", view.__name__
            )
    operations = [operation for _, operation in rules]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Greendot",
            "version": _version(),
            "summary": "Who is online.",
            "description": DESCRIPTION.strip(),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": TAGS[name]} for name in TAGS],
        "paths": paths,
        "components": {
            "schemas": _schemas(operations),
            "responses": dict(_error_responses(rules)),
            "headers": {
                "RetryAfter": {
                    "description": "Seconds after which to try again.",
                    "schema": {"type": "integer", "minimum": 1},
                },
                "ETag": {
                    "description": "Stands for the content of the answer.",
                    "schema": {"type": "string"},
                },
            },
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


def _version() -> str:
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text("utf-8"))
    version: str = project["project"]["version"]
    return version


def _operation(operation: Operation, rule: Rule, doc: str, name: str) -> Object:
    found: Object = {
        "operationId": name.strip("_"),
        "tags": [operation.tag],
        "summary": _one_line(doc).partition(". ")[0].removesuffix("."),
        "description": _paragraphs(doc),
        "security": SECURITY[operation.caller],
    }
    parameters = [*map(_path_parameter, sorted(rule.arguments))]
    options = operation.parameters
    if operation.has_etag:
        options = (*options, IF_NONE_MATCH)
    parameters += map(_parameter, options)
    if parameters:
        found["parameters"] = parameters
    if operation.takes is not None:
        found["requestBody"] = {
            "required": not operation.body_is_optional,
            "content": {
                JSON: {
                    "schema": _ref(operation.takes),
                    "example": operation.takes.example,
                }
            },
        }
    found["responses"] = dict(sorted(_responses(operation, rule)))
    return found


def _path_parameter(name: str) -> Object:
    description, example = PATH_PARAMETERS[name]
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {**json.schema(Id), "description": "An id."},
        "example": example,
    }


def _parameter(parameter: Parameter) -> Object:
    found: Object = {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "schema": parameter.schema,
    }
    if parameter.example is not None:
        found["example"] = parameter.example
    return found


def _responses(operation: Operation, rule: Rule) -> Iterator[tuple[str, Object]]:
    for status, response in operation.responses.items():
        yield str(status), _plain_response(response)
    if operation.gives is not None:
        yield "200", _success(operation, "What is stored or was asked for.")
        if operation.creates:
            yield "201", _success(operation, "It is new, and is stored now.")
    elif not operation.responses:
        done = "Done. This is also the answer if there was nothing to do."
        yield "204", {"description": done}
    if operation.has_etag:
        yield "304", NOT_MODIFIED
    for name, codes in _errors(operation, rule):
        yield (
            str(CODES[codes[0]].status),
            {"$ref": f"#/components/responses/{name}"},
        )


def _plain_response(response: Response) -> Object:
    found: Object = {"description": response.description}
    if response.content_type is not None:
        schema = {"type": "object" if response.content_type == JSON else "string"}
        found["content"] = {response.content_type: {"schema": schema}}
    if response.model is not None:
        model: Any = response.model
        content = {"schema": _ref(model), "example": model.example}
        found["content"] = {JSON: content}
    return found


def _success(operation: Operation, description: str) -> Object:
    model: Any = operation.gives
    found: Object = {
        "description": description,
        "content": {
            JSON: {
                "schema": {
                    "type": "object",
                    "properties": {"data": _ref(model)},
                    "required": ["data"],
                },
                "example": {"data": model.example},
            }
        },
    }
    if operation.has_etag:
        found["headers"] = ETAG
    return found


def _errors(operation: Operation, rule: Rule) -> list[tuple[str, list[str]]]:
    """The codes of the errors of a route, by status, and the name of each response."""
    codes = operation.all_codes | ({INVALID_ID} if rule.arguments else set())
    by_status: dict[int, list[str]] = {}
    for code in CODES:  # in this order, whatever the order in the description
        if code in codes:
            by_status.setdefault(CODES[code].status, []).append(code)
    return [(".".join(found), found) for found in by_status.values()]


def _error_responses(
    rules: Iterable[tuple[Rule, Operation]],
) -> Iterator[tuple[str, Object]]:
    for rule, operation in rules:
        for name, codes in _errors(operation, rule):
            yield name, _error_response(codes)


def _error_response(codes: list[str]) -> Object:
    status = CODES[codes[0]].status
    of_code = {"properties": {"code": {"enum": codes}}}
    found: Object = {
        "description": "\n".join(
            [
                f"{HTTPStatus(status).phrase}.",
                "",
                *(f"- `{code}`: {CODES[code].when}" for code in codes),
            ]
        ),
        "content": {
            JSON: {
                "schema": {
                    "allOf": [_ref(answers.Error), {"properties": {"error": of_code}}]
                },
                "examples": {
                    code: {
                        "value": {
                            "error": {"code": code, "message": CODES[code].message}
                        }
                    }
                    for code in codes
                },
            }
        },
    }
    if status in HEADERS:
        found["headers"] = HEADERS[status]
    return found


def _schemas(operations: Iterable[Operation]) -> Object:
    """The schemas of all models, by name."""
    models: dict[type[msgspec.Struct], None] = {answers.Error: None}
    for operation in operations:
        models |= {
            model: None
            for model in (
                operation.takes,
                operation.gives,
                *(one.model for one in operation.responses.values()),
            )
            if model is not None
        }
    _, found = json.schema_components(models, ref_template=REF)
    for model in Body.__subclasses__():
        if model.at_least_one:
            found[model.__name__]["minProperties"] = 1
    for schema in found.values():
        if "description" in schema:
            schema["description"] = _one_line(schema["description"])
    return dict(sorted(found.items()))


def _ref(model: type[msgspec.Struct]) -> Object:
    return {"$ref": REF.format(name=model.__name__)}


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _paragraphs(text: str) -> str:
    """`text` without the line breaks inside its paragraphs. Lists keep theirs."""
    return "\n\n".join(
        part if part.startswith("- ") else _one_line(part)
        for part in text.split("\n\n")
    )
