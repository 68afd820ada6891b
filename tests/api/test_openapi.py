"""The OpenAPI document: it has all routes, it is valid, and its models are those that
decode the bodies."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator

import msgspec
import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator

from app.api import openapi
from app.api.schema import bodies
from app.api.schema.checks import Body, check
from app.api.schema.document import described_rules, methods_of, path_of
from app.api.schema.operation import CODES, operation_of
from app.errors import ApiError
from app.factory import create_app
from config import Settings
from tests.docs.pages import Page
from tests.rest_document import RestDocument

PAGES = {"static", "favicon", "pages.plain"}
"""Routes for browsers: they are no part of REST."""
KEY = "service-key-of-the-tests"


def app_with(**settings: object) -> Flask:
    """An application whose stores nobody asks."""
    nowhere = "redis://127.0.0.1:9/0"
    return create_app(
        Settings(
            database_url="sqlite://",
            redis_url=nowhere,
            broker_url=nowhere,
            jwt_secret="s" * 32,
            service_key=KEY,
            **settings,
        )
    )


@pytest.fixture(scope="module")
def app() -> Flask:
    return app_with()


@pytest.fixture(scope="module")
def document(app: Flask) -> dict:
    answer = app.test_client().get("/openapi.json")
    assert answer.status_code == 200
    assert answer.mimetype == "application/json"
    return answer.get_json()


def operations(document: dict) -> Iterator[tuple[str, str, dict]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def all_models() -> list[type[Body]]:
    found = [one for one in vars(bodies).values() if isinstance(one, type)]
    models = [one for one in found if issubclass(one, Body) and one is not Body]
    assert len(models) > 10
    return models


def test_it_has_every_route_and_no_other(app: Flask, document: dict):
    routes = {
        (method.lower(), path_of(rule))
        for rule in app.url_map.iter_rules()
        if rule.endpoint not in PAGES and not rule.endpoint.startswith("operators.")
        for method in methods_of(rule)
    }
    assert {(method, path) for method, path, _ in operations(document)} == routes


def test_it_is_a_valid_openapi_document(document: dict):
    assert document["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(document).validate()


def test_the_demo_adds_nothing(document: dict):
    with_demo = app_with(demo=True).test_client().get("/openapi.json")
    assert with_demo.get_json()["paths"] == document["paths"]


def test_it_is_made_on_the_first_request_and_kept():
    app = app_with()
    assert openapi.EXTENSION not in app.extensions
    client = app.test_client()
    first = client.get("/openapi.json")
    kept = app.extensions[openapi.EXTENSION]
    assert first.data == kept
    assert client.get("/openapi.json").data is not None
    assert app.extensions[openapi.EXTENSION] is kept


def test_a_cache_can_ask_whether_it_has_changed(app: Flask):
    client = app.test_client()
    etag = client.get("/openapi.json").headers["ETag"]
    answer = client.get("/openapi.json", headers={"If-None-Match": etag})
    assert (answer.status_code, answer.data) == (304, b"")


def test_the_command_prints_the_same(app: Flask, document: dict):
    done = app.test_cli_runner().invoke(args=["openapi"])
    assert done.exit_code == 0
    assert json.loads(done.output) == document


def test_everything_is_described_in_sentences(document: dict):
    tags = {tag["name"] for tag in document["tags"]}
    used = set()
    for _, path, operation in operations(document):
        assert operation["summary"], path
        assert operation["description"].endswith("."), path
        used |= set(operation["tags"])
        for parameter in operation.get("parameters", ()):
            assert parameter["description"].endswith("."), parameter
    assert used == tags
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))
    for name, schema in document["components"]["schemas"].items():
        if "enum" not in schema:
            assert schema["description"].endswith("."), name


def test_every_operation_says_which_credentials_it_needs(document: dict):
    schemes = set(document["components"]["securitySchemes"])
    for _, path, operation in operations(document):
        needed = {name for one in operation["security"] for name in one}
        assert needed <= schemes
        if path.startswith("/api/admin"):
            assert needed == {"serviceKey"}
        elif path.startswith("/api/"):
            assert needed == {"token", "tokenCookie"}
        else:
            assert needed == set()
        assert ("401" in operation["responses"]) == bool(needed)


def test_answers_that_are_to_be_repeated_say_when(document: dict):
    responses = document["components"]["responses"]
    for _, path, operation in operations(document):
        for status in {"429", "503"} & operation["responses"].keys():
            if path == "/readyz":  # its probe has its own rhythm
                continue
            name = operation["responses"][status]["$ref"].rpartition("/")[2]
            assert "Retry-After" in responses[name]["headers"]


def test_the_codes_are_those_of_the_protocol(document: dict):
    table = Page("docs/PROTOCOL.md").table("status", "`code`", "when")
    said = {
        (int(row[0]), code)
        for row in table
        for code in row[1].replace("`", "").split(", ")
    }
    assert {(code.status, name) for name, code in CODES.items()} == said
    used = {
        code for name in document["components"]["responses"] for code in name.split(".")
    }
    assert used == set(CODES)


def test_every_example_is_right(app: Flask, document: dict):
    rest = RestDocument(document)
    for _, path, operation in operations(document):
        body = operation.get("requestBody")
        contents = [body["content"]] if body else []
        for response in operation["responses"].values():
            name = response.get("$ref", "").rpartition("/")[2]
            of_name = document["components"]["responses"].get(name, response)
            contents.append(of_name.get("content", {}))
        for content in contents:
            for media in content.values():
                examples = [one["value"] for one in media.get("examples", {}).values()]
                examples += [media["example"]] if "example" in media else []
                assert examples or path in {"/metrics", "/openapi.json"}, path
                for example in examples:
                    rest.validator(media["schema"]).validate(example)
    for rule, operation in described_rules(app):
        assert operation_of(app.view_functions[rule.endpoint]) is operation
        if operation.takes is not None:
            check(operation.takes, operation.takes.example)


def test_a_route_cannot_read_a_body_that_is_not_described(app: Flask):
    with (
        app.test_request_context("/api/admin/bulk", method="POST", data="{}"),
        pytest.raises(TypeError, match="is not described with UserName"),
    ):
        app.view_functions["admin.put_user"].__globals__["admin_input"].body(
            bodies.UserName
        )


# A model refuses the same bodies as its schema

IDS = ["ann", "bob", "cleo", "", "a b", "ä", "x" * 128, "x" * 129]
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.sampled_from([1.0, 1.5, 2**53 - 1, 2**53, 2**64]),
    st.sampled_from(IDS),
    st.sampled_from(
        ["accepted", "friends", "dnd", "away", "🧮", "7", "\u2028", "\u202e"]
    ),
    st.text("aZ9_ |\t\x00\x85\u200b", max_size=3),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["id", "users", "status", "x"]), inner)
    ),
    max_leaves=5,
)


def places(value: object, path: tuple = ()) -> list[tuple]:
    """The paths of all values inside of `value`, and its own."""
    found = [path]
    if isinstance(value, dict):
        items = value.items()
    else:
        items = enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += places(item, (*path, key))
    return found


def changed(value: object, path: tuple, new: object, *, delete: bool) -> object:
    """`value` with `new` at `path`, or without what is there."""
    if not path:
        return new
    found = copy.deepcopy(value)
    inside = found
    for key in path[:-1]:
        inside = inside[key]
    if delete:
        del inside[path[-1]]
    else:
        inside[path[-1]] = new
    return found


@st.composite
def bodies_of(draw: st.DrawFn, model: type[Body]) -> object:
    """A body that is nearly one of `model`."""
    names = [one.encode_name for one in msgspec.structs.fields(model)]
    fixed = st.just(copy.deepcopy(model.example or {}))
    value = draw(fixed | st.dictionaries(st.sampled_from([*names, "x"]), VALUES))
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(places(value)))
        value = changed(value, path, draw(VALUES), delete=draw(st.booleans()))
    return value


def refusal(model: type[Body], value: object) -> str | None:
    try:
        check(model, value)
        msgspec.convert(value, model)
    except ApiError as error:
        return error.message
    return None


@pytest.mark.parametrize("model", all_models())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_model_refuses_what_its_schema_refuses(document, model, data):
    value = data.draw(bodies_of(model))
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    fits = RestDocument(document).validator(schema).is_valid(value)
    message = refusal(model, value)
    # No schema can say that two items differ from each other.
    if message is None or "two different users" not in message:
        assert fits == (message is None), (value, message)
