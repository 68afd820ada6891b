"""Checks frames of the WebSocket against docs/asyncapi.yaml."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import jsonschema_rs
import yaml

from config import PROJECT_ROOT

Object = dict[str, Any]


@cache
def document() -> Object:
    """The AsyncAPI document."""
    text = (PROJECT_ROOT / "docs" / "asyncapi.yaml").read_text("utf-8")
    found: Object = yaml.safe_load(text)
    return found


def messages(action: str) -> dict[str, Object]:
    """The messages that the server handles with `action`, by name: those that it sends,
    or those that it receives."""
    components = document()["components"]["messages"]
    operations = document()["operations"].values()
    refs = [
        ref for one in operations if one["action"] == action for ref in one["messages"]
    ]
    if action == "send":  # an answer is sent too
        refs += [
            ref
            for one in operations
            for ref in one.get("reply", {}).get("messages", ())
        ]
    names = [ref["$ref"].rpartition("/")[2] for ref in refs]
    return {name: components[name] for name in names}


@cache
def validator(name: str) -> jsonschema_rs.Validator:
    """What checks a frame of the message `name`. No object may have a field that the
    document does not name."""
    components = copy.deepcopy(document()["components"])
    schema = components["messages"][name]["payload"]
    _forbid_more(schema)
    _forbid_more(components["schemas"])
    return jsonschema_rs.Draft7Validator({**schema, "components": components})


def _forbid_more(schema: Any) -> None:
    if isinstance(schema, list):
        for one in schema:
            _forbid_more(one)
    elif isinstance(schema, dict):
        for one in schema.values():
            _forbid_more(one)
        if "properties" in schema and isinstance(schema.get("type"), str):
            schema["additionalProperties"] = False


def check_frame(frame: Object) -> None:
    """Check that the document describes this frame of the server.

    Raises:
        AssertionError: it does not.
    """
    name = frame["event"]
    assert name in messages("send"), f"{name} is not in docs/asyncapi.yaml"
    try:
        validator(name).validate(frame)
    except jsonschema_rs.ValidationError as error:
        message = f"{frame} is not as docs/asyncapi.yaml says: {error}"
        raise AssertionError(message) from None
