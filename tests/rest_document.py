"""Checks answers of REST against the OpenAPI document of the application."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import jsonschema_rs
import orjson

from app.api.schema.document import JSON
from models.emoji import is_emoji
from models.identifiers import InvalidText, check_shown_text
from models.sql.presence_settings import TEXT_LENGTH

Object = dict[str, Any]


def is_shown_text(text: str) -> bool:
    """Whether `text` has the format `shown-text` of the document."""
    try:
        check_shown_text(text, TEXT_LENGTH)
    except InvalidText:
        return False
    return True


FORMATS = {"emoji": is_emoji, "shown-text": is_shown_text}


class RestDocument:
    """An OpenAPI document, and checks against it."""

    def __init__(self, document: Object) -> None:
        self.document = document
        self._validators: dict[tuple[str, str, str], jsonschema_rs.Validator] = {}
        patterns = sorted(document["paths"], key=lambda path: path.count("{"))
        self._paths = [
            (re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), path) for path in patterns
        ]

    def schema(self, schema: Object) -> Object:
        """`schema`, which may refer to components of the document."""
        return {**schema, "components": self.document["components"]}

    def validator(self, schema: Object) -> jsonschema_rs.Validator:
        """What checks that a value is as `schema` says."""
        return jsonschema_rs.validator_for(
            self.schema(schema), formats=FORMATS, validate_formats=True
        )

    def path_of(self, path: str) -> str | None:
        """The path of the document that a request for `path` means."""
        path = path.partition("?")[0]
        found = (known for pattern, known in self._paths if pattern.fullmatch(path))
        return next(found, None)

    def check(
        self,
        method: str,
        path: str,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
    ) -> None:
        """Check that the document says that `method path` may be answered so. All
        fields of the answer must be in the document. Paths that are not in the document
        are not checked.

        Raises:
            AssertionError: it does not say so.
        """
        known = self.path_of(path)
        if known is None:
            return
        what = f"{method} {known} {status}"
        operation = self.document["paths"][known].get(method.lower())
        if operation is None:
            assert method in {"HEAD", "OPTIONS"} or status == 405, what
            return
        assert str(status) in operation["responses"], f"{what} is not in the document"
        response = self._response(operation, str(status))
        given = {name.lower() for name in headers}
        for name in response.get("headers", ()):
            assert name.lower() in given, f"{what} has no header {name}"
        content = response.get("content")
        if content is None:
            assert not body, f"{what} has a body"
            return
        (content_type,) = content
        sent = {name.lower(): value for name, value in headers.items()}["content-type"]
        assert sent.partition(";")[0] == content_type, what
        if content_type == JSON:
            self._check_json(known, method, str(status), orjson.loads(body))

    def _response(self, operation: Object, status: str) -> Object:
        response: Object = operation["responses"][status]
        if "$ref" in response:
            name = response["$ref"].rpartition("/")[2]
            response = self._strict["components"]["responses"][name]
        return response

    def _check_json(self, path: str, method: str, status: str, value: object) -> None:
        key = path, method, status
        if key not in self._validators:
            operation = self._strict["paths"][path][method.lower()]
            schema = self._response(operation, status)["content"][JSON]["schema"]
            components = self._strict["components"]
            self._validators[key] = jsonschema_rs.validator_for(
                {**schema, "components": components},
                formats=FORMATS,
                validate_formats=True,
            )
        try:
            self._validators[key].validate(value)
        except jsonschema_rs.ValidationError as error:
            message = f"{method} {path} {status}: {error}"
            raise AssertionError(message) from None

    @cached_property
    def _strict(self) -> Object:
        """The document without the licence to send more fields than it names."""
        found = copy.deepcopy(self.document)
        for schema in found["components"]["schemas"].values():
            if "properties" in schema:
                schema["additionalProperties"] = False
        return found
