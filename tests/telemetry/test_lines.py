"""Log lines, request ids and the causes of changes, without any process."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import replace

import orjson
import pytest
from structlog.contextvars import bound_contextvars, clear_contextvars

from config import PROJECT_ROOT, Settings, SettingsError
from models.events import Delivery, GatewayMessage, Transition
from models.identifiers import joined_ids
from models.telemetry import causes
from models.telemetry.logs import make_formatter
from models.telemetry.redaction import redactor

SECRET = 'a "secret" of the tests, with 32 characters or more'
TRACEPARENT = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
ENVIRON = {"PRESENCE_JWT_SECRET": SECRET}


@pytest.fixture(autouse=True)
def _no_request():
    """Another test may have left the id of its request."""
    clear_contextvars()


def settings(**environ):
    return Settings.from_env({**ENVIRON, **environ})


def run_python(code, *, check=True, **environ):
    """The end of a Python with this program and these settings."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT,
        env={**ENVIRON, **environ},
        capture_output=True,
        text=True,
        check=check,
    )


def line(form, event, *args, level=logging.INFO, error=None, **fields):
    record = logging.LogRecord("app.x", level, "x.py", 1, event, args, error)
    vars(record).update(fields)
    return make_formatter(settings(LOG_FORMAT=form)).format(record)


def test_a_line_of_text_looks_as_gunicorns():
    found = line("text", "%d users expired", 3, user_id="ann", reason="two words")
    head, _, rest = found.partition("] [INFO] ")
    assert rest == '3 users expired user_id=ann reason="two words"'
    assert head.startswith("[20")
    assert " +0000] [" in head


def test_a_line_of_json_has_all_fields_and_those_of_the_request():
    with bound_contextvars(request_id="r1"):
        found = json.loads(line("json", "gone: %s", "x", user_id="ann", other=object()))
    assert found["event"] == "gone: x"
    assert found["level"] == "info"
    assert found["logger"] == "app.x"
    assert found["user_id"] == "ann"
    assert found["request_id"] == "r1"
    assert found["process"] > 0
    assert "other" not in found  # what libraries put into records for themselves


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_value_of_a_client_cannot_begin_a_line(form):
    found = line(form, "x", reason='a\n[2026] "b" \u2028\x85\x1b[31m')
    assert len(found.splitlines()) == 1
    assert "\x1b" not in found


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_is_in_the_line_without_its_secrets(form):
    try:
        int(SECRET)
    except ValueError:
        error = sys.exc_info()
    found = line(form, "failed", level=logging.ERROR, error=error)
    assert "Traceback" in found
    assert "with base 10: '[hidden]'" in found
    assert form == "text" or len(found.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://:pass-word@host/0", "redis://:[hidden]@host/0"),
        ("postgresql://ann:p%40ss@host", "postgresql://ann:[hidden]@host"),
        ("redis://host/0", "redis://host/0"),
        ("redis://:**@host/0", "redis://:**@host/0"),
        ("GET /ws?ticket=abc&detail=1", "GET /ws?ticket=[hidden]&detail=1"),
        ("GET /ws?detail=1&token=abc", "GET /ws?detail=1&token=[hidden]"),
        ('{"Authorization": "Bearer abc"}', '{"Authorization": "Bearer [hidden]"}'),
        ("Cookie: presence_token=abc; x=1", "Cookie: presence_token=[hidden]; x=1"),
        ("got eyJhbGciOiJI.eyJzdWIiOiI.abc_-1!", "got [hidden]!"),
        ("whsec_AAAABBBBCCCC= is wrong", "[hidden] is wrong"),
        (f"as it is: {SECRET}", "as it is: [hidden]"),
        (json.dumps({"in JSON": SECRET}), '{"in JSON": "[hidden]"}'),
        ("ann@example.com is gone", "ann@example.com is gone"),
    ],
)
def test_secrets_are_hidden(text, shown):
    assert redactor([SECRET])(text) == shown


GREENLET = """
import gevent
from app.server.logger import log_failed_greenlets
from config import settings_or_exit
from models.telemetry import logs

logs.configure(settings_or_exit())
log_failed_greenlets()
gevent.joinall([gevent.spawn(int, "Bearer abcdef")])
"""


def test_the_error_of_a_greenlet_is_a_line_like_others():
    done = run_python(GREENLET, LOG_FORMAT="json")
    found = json.loads(done.stderr)
    assert found["level"] == "error"
    assert "has failed" in found["event"]
    assert "'Bearer [hidden]'" in found["exception"]


# Request ids and causes


@pytest.mark.parametrize(
    "given", ["abc", "1-67891233-abcdef012345678912345678", "a" * 128]
)
def test_the_callers_id_is_used(given):
    assert causes.begin_request(given) == given == causes.current_request()
    causes.end_request()
    assert not causes.current_request()


@pytest.mark.parametrize("given", [None, "", "a b", "a\nb", "ä", "a" * 129, '"', "<b>"])
def test_an_id_that_could_do_harm_is_replaced(given):
    made = causes.begin_request(given)
    causes.end_request()
    assert made != given
    assert len(made) == 16


def test_a_cause_is_a_request_and_a_span():
    cause = causes.with_traceparent("r1", TRACEPARENT)
    assert causes.checked(cause) == cause
    assert causes.request_id_in(cause) == "r1"
    assert causes.traceparent_in(cause) == TRACEPARENT
    assert causes.traceparent_in("r1") == ""
    assert causes.checked("two words") == causes.checked("a\nb") == ""


# Between processes of two versions

CHANGE = Transition("ann", "online", 7, f"r1 {TRACEPARENT}")
MESSAGE = GatewayMessage(
    (
        Delivery(CHANGE, joined_ids(["bob"])),
        Delivery(Transition("cy", "offline", 8), ""),
    )
)


def test_a_gateway_message_carries_the_causes():
    name, value = MESSAGE.as_entry()
    assert name == "v1"
    decoded = GatewayMessage.from_entry([name.encode(), value])
    assert decoded == MESSAGE
    assert [one.transition.cause for one in decoded.transitions] == [CHANGE.cause, ""]


def test_a_process_that_knows_no_causes_reads_all_the_rest():
    """As `GatewayMessage.decode` was before there were causes."""
    transitions, introductions, snapshots, disconnects, *rest = orjson.loads(
        MESSAGE.encode()
    )
    own, revocations = (*rest, (), ())[:2]
    assert [len(packed) for packed in transitions] == [4, 4]
    assert not any((introductions, snapshots, disconnects, own, revocations))


def test_a_gateway_before_revocations_gets_none():
    without = MESSAGE.for_reader(3)
    assert without == MESSAGE
    assert without.encode() == MESSAGE._without_causes().encode()
    assert MESSAGE.for_reader(4) is MESSAGE


def test_a_message_without_causes_is_as_it_was():
    plain = replace(MESSAGE, transitions=(Delivery(Transition("a", "online", 1), "b"),))
    assert plain.encode() == b'[[["a","online",1,"b"]],[],[],[]]'


def test_causes_that_do_not_fit_are_ignored():
    parts = orjson.loads(MESSAGE.encode())
    parts[6] = ["only one"]
    decoded = GatewayMessage.decode(orjson.dumps(parts))
    assert [one.transition.cause for one in decoded.transitions] == ["", ""]


# Settings


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"LOG_FORMAT": "xml"}, "LOG_FORMAT=xml: takes text or json"),
        ({"LOG_LEVEL": "5"}, "LOG_LEVEL=5: takes debug or info or warning or error"),
        ({"SENTRY_DSN": "https://host/1"}, "SENTRY_DSN=https://…: takes a DSN like"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "host"}, "takes a URL like http://collector"),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://host:4317",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            },
            "OTEL_EXPORTER_OTLP_PROTOCOL=grpc: takes http/protobuf",
        ),
    ],
)
def test_a_wrong_setting_is_refused(environ, said):
    with pytest.raises(SettingsError) as caught:
        settings(**environ)
    assert said in str(caught.value)


WITHOUT_PACKAGES = """
import sys

class NotInstalled:
    @staticmethod
    def find_spec(name, *_):
        if name.partition(".")[0] in {"opentelemetry", "sentry_sdk"}:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, NotInstalled)
import config

config.settings_or_exit()
"""


def test_traces_can_be_disabled_as_everywhere():
    given = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://host:4318"}
    assert settings(**given).otel_exporter_otlp_endpoint
    disabled = settings(**given, OTEL_SDK_DISABLED="true")
    assert disabled.otel_exporter_otlp_endpoint is None


@pytest.mark.parametrize(
    ("name", "value", "package"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://host:4318", "opentelemetry"),
        ("SENTRY_DSN", "https://key@host/1", "sentry_sdk"),
    ],
)
def test_a_process_without_the_packages_says_which_are_missing(name, value, package):
    environ = {name: value, "LOG_FORMAT": "json"}
    done = run_python(WITHOUT_PACKAGES, check=False, **environ)
    assert done.returncode == 3, done.stderr
    said = json.loads(done.stderr)
    assert said["level"] == "critical"
    assert f"{name} is set, but {package}" in said["event"]
    assert "-r requirements-otel.txt" in said["event"]


def test_nothing_of_it_is_imported_without_the_settings():
    code = "import sys, wsgi, tasks.worker; print(*sys.modules)"
    done = run_python(code, PATH="")
    loaded = set(done.stdout.split())
    assert "structlog" in loaded
    # redis-py itself imports another part of OpenTelemetry if it is installed.
    unused = {"opentelemetry.sdk.trace", "opentelemetry.exporter", "sentry_sdk"}
    assert not loaded & {*unused, "google.protobuf"}
