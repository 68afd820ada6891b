"""Checks a request's body against a model, and says in plain words what is wrong.

msgspec decides whether a body fits a model, but its messages do not say what a field
takes. So `check` goes through the same model first. It also applies the rules that
msgspec does not know, such as the characters of an id.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, ClassVar

import gevent
import msgspec
from msgspec import inspect

from app.api.schema.fields import CHECK, OF
from app.api.values import bad_request, choice
from app.errors import ApiError

Check = Callable[[object, str], object]
"""Checks a value. The second argument is the name of its field. Raises `ApiError`."""

BODY = "body"
"""What an error names if the whole body is wrong."""
SLICE = 500
"""Items of a list that are checked at once. In between, the gateway serves its
sockets."""


class Body(msgspec.Struct):
    """The base of JSON objects that requests have. Unknown fields are ignored."""

    at_least_one: ClassVar[bool] = False
    """Whether an empty object is refused."""
    example: ClassVar[object] = None
    """A body for the document."""

    @classmethod
    def refuse_fields(cls, unknown: set[str], field: str) -> ApiError:  # noqa: ARG003 - a subclass uses it
        """The error if the object has `unknown` fields, or none at all."""
        *first, last = cls.__struct_fields__
        takes = f"takes {', '.join(first)} and {last}" if first else f"takes {last}"
        return bad_request(field=field, takes=takes)


class Row(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """The base of lists with a fixed number of items."""

    @classmethod
    def check(cls, value: object, field: str) -> object:
        """Check that `value` is such a list.

        Raises:
            ApiError: it is not. The message says what it takes.
        """
        raise NotImplementedError


def check(model: type[Body], value: object) -> None:
    """Check that `value`, which is parsed JSON, is a `model`.

    Raises:
        ApiError: 400, it is not. The message names the first wrong field.
    """
    _checker_of(model)(value, "")


@cache
def _checker_of(model: type[Body]) -> Check:
    return _checker(inspect.type_info(model), {})


def _checker(node: inspect.Type, extra: dict[str, Any]) -> Check:
    """The check of a value that the model describes by `node`."""
    found: Check
    match node:
        case inspect.Metadata():
            found = _checker(node.type, node.extra or {})
        case _ if CHECK in extra:
            found = extra[CHECK]
        case inspect.StructType() if issubclass(node.cls, Row):
            found = node.cls.check
        case inspect.StructType():
            found = _object_checker(node)
        case inspect.ListType():
            found = _list_checker(node, extra)
        case inspect.UnionType():
            found = _union_checker(node)
        case inspect.EnumType():
            found = partial(_choice, node.cls)
        case inspect.BoolType():
            found = _boolean
        case _:
            message = f"a body cannot have a field of {node}"
            raise TypeError(message)
    return found


def _choice(kind: type[Any], value: object, field: str) -> None:
    choice(kind, value, field)


def _object_checker(node: inspect.StructType) -> Check:
    model: Any = node.cls
    checkers = [
        (one.encode_name, _checker(one.type, {}), one.required) for one in node.fields
    ]
    known = {name for name, _, _ in checkers}

    def check_object(value: object, field: str) -> None:
        if not isinstance(value, dict):
            raise bad_request(field=field or BODY, takes="takes a JSON object")
        unknown = value.keys() - known if node.forbid_unknown_fields else set()
        if unknown or (model.at_least_one and not value):
            raise model.refuse_fields(unknown, field or BODY)
        prefix = f"{field}." if field else ""
        for name, check_field, is_required in checkers:
            if is_required or name in value:
                check_field(value.get(name), prefix + name)

    return check_object


def _list_checker(node: inspect.ListType, extra: dict[str, Any]) -> Check:
    check_item = _checker(node.item_type, {})
    takes = f"takes a list of {extra[OF]}" if OF in extra else "takes a list"
    most = node.max_length

    def check_list(value: object, field: str) -> None:
        if not isinstance(value, list):
            raise bad_request(field=field, takes=takes)
        if most is not None and len(value) > most:
            raise bad_request(field=field, takes=f"takes at most {most} ids")
        for place, item in enumerate(value):
            check_item(item, f"{field}[{place}]")
            if place % SLICE == SLICE - 1:
                gevent.sleep(0)

    return check_list


def _union_checker(node: inspect.UnionType) -> Check:
    """A field that may be null."""
    types = [one for one in node.types if not isinstance(one, inspect.NoneType)]
    (only,) = types
    check_value = _checker(only, {})
    return lambda value, field: None if value is None else check_value(value, field)


def _boolean(value: object, field: str) -> None:
    if not isinstance(value, bool):
        raise bad_request(field=field, takes="takes true or false")
