"""`flask doctor` in a deployment that is right, and with one planted mistake each."""

from __future__ import annotations

import itertools
import json
import os
import re
import resource
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from app.doctor.http import STATUS_PATH
from app.doctor.same_secrets import CALLS, USER, check_secrets_at
from app.tokens import EXPIRED
from config import PROJECT_ROOT, Settings
from models.presence import Presence
from tests.deploy.proxies import certificate
from tests.docs.pages import Page
from tests.system import SERVICE_KEY, System
from tests.webhooks.receiver import SECRETS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

ORIGIN = "https://chat.example.com"
DOCTOR = [sys.executable, "-m", "flask", "--app", "wsgi", "doctor"]


@pytest.fixture(scope="module")
def deployed():
    running = System(webs=1, PRESENCE_ALLOWED_ORIGINS=ORIGIN)
    running.start()
    yield running
    running.close()


def doctor(system: System, *arguments: str, files: int | None = None, **environ: str):
    """The exit code, and the lines by level."""
    done = subprocess.run(
        [*DOCTOR, *arguments],
        cwd=PROJECT_ROOT,
        env={**system.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=files
        and (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))),
    )
    assert "Traceback" not in done.stderr, done.stderr
    *lines, last = done.stdout.splitlines()
    found: dict[str, list[str]] = {"ok": [], "warning": [], "problem": []}
    for line in lines:
        level, text = line.split(maxsplit=1)
        found[level].append(text)
    counts = f"problems: {len(found['problem'])}, warnings: {len(found['warning'])}"
    assert last == counts
    assert done.returncode == (1 if found["problem"] else 0)
    return found


def problem(system: System, subject: str, *arguments: str, **environ) -> str:
    """The one problem of this subject. On a busy machine others may be slow."""
    found = doctor(system, *arguments, **environ)["problem"]
    (text,) = (one for one in found if one.startswith(f"{subject}: "))
    return text.removeprefix(f"{subject}: ")


def test_a_deployment_that_is_right(deployed):
    found = doctor(deployed, "--url", deployed.url())
    assert found["problem"] == []
    (url,) = (text for text in found["ok"] if text.startswith("url: "))
    assert url.endswith("come through; allowed origins checked: 1")
    same = "PRESENCE_JWT_SECRET, PRESENCE_SERVICE_KEY"
    assert f"secrets: the same at {deployed.url()}: {same}" in found["ok"]
    assert "web: gateways with the settings of this command: 1" in found["ok"]
    subjects = {text.split(":")[0] for text in found["ok"]}
    assert subjects == {
        *("secrets", "heartbeat", "files", "database", "redis"),
        *("web", "worker", "beat", "url"),
    }
    assert not deployed.redis.keys("presence:trial:*")
    # It is an honest test deployment: SQLite, no persistence, no TLS, open metrics.
    assert sorted(text.split(":")[0] for text in found["warning"]) == [
        *("database", "redis", "url", "url"),
    ]


@pytest.mark.slow
def test_insecure_secrets_and_a_demo(deployed):
    found = doctor(deployed, PRESENCE_INSECURE="1", PRESENCE_DEMO="1")["problem"]
    assert found[0].startswith("secrets: PRESENCE_INSECURE is set")
    assert found[1].startswith("secrets: PRESENCE_DEMO is set")


@pytest.mark.slow
def test_a_heartbeat_that_may_not_be_lost_twice(deployed):
    found = doctor(deployed, PRESENCE_HEARTBEAT_INTERVAL="3")["warning"]
    assert any(text.startswith("heartbeat: every 3 s") for text in found)


@pytest.mark.slow
def test_too_few_open_files(deployed):
    assert "files" in problem(deployed, "files", files=300)


@pytest.mark.slow
def test_a_database_that_is_not_migrated(deployed, tmp_path):
    database = f"sqlite:///{tmp_path / 'empty.db'}"
    found = doctor(deployed, DATABASE_URL=database)["problem"]
    first, second = (one for one in found if one.startswith("database: "))
    assert first.startswith("database: its revision is none and not 0")
    assert "alembic upgrade head" in second


@pytest.mark.slow
def test_a_database_that_is_away(deployed):
    away = "postgres://user@127.0.0.1:9/greendot"
    assert "DATABASE_URL" in problem(deployed, "database", DATABASE_URL=away)


@pytest.mark.slow
def test_a_redis_that_deletes_keys(deployed):
    deployed.redis.config_set("maxmemory", "1gb")
    deployed.redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        text = problem(deployed, "redis")
    finally:
        deployed.redis.config_set("maxmemory", "0")
        deployed.redis.config_set("maxmemory-policy", "noeviction")
    assert text.startswith("its maxmemory-policy is allkeys-lru")


@pytest.mark.slow
def test_a_redis_that_is_away(deployed):
    found = doctor(deployed, REDIS_URL="redis://127.0.0.1:9/0")["problem"]
    assert found[0].startswith("redis: Redis is not available")
    assert "REDIS_URL" in found[0]
    assert ".." not in found[0].replace("...", "")


def test_each_webhook_receiver(deployed):
    urls = [f"http://localhost:{port}/secret-path" for port in (1, 2, 3)]
    environ = {
        "PRESENCE_WEBHOOK_URLS": ",".join(urls),
        "PRESENCE_WEBHOOK_SECRETS": SECRETS[0],
    }
    settings = Settings.from_env({**deployed.environ, **environ})
    webhooks = Presence.open(settings).webhooks
    failure = {"failures": 1, "last_error": "answered 503."}
    webhooks.failed(urls[1], 0, failure)
    webhooks.failed(urls[2], 0, {**failure, "disabled": 1})
    try:
        found = doctor(deployed, **environ)
    finally:
        deployed.redis.delete(*deployed.redis.keys("presence:webhook:*"))
    problems = [text for text in found["problem"] if text.startswith("webhooks: ")]
    assert len(problems) == 2
    assert "http://localhost:2 does not accept them: answered 503.;" in problems[0]
    assert "Repair the receiver" in problems[0]
    assert "http://localhost:3 has answered 410" in problems[1]
    assert "POST /api/admin/webhooks/enable" in problems[1]
    active = "webhooks: http://localhost:1 is active; "
    assert [text for text in found["ok"] if text.startswith(active)]
    assert "secret-path" not in str(found)


def test_a_permission_that_is_missing(deployed):
    port = deployed.server.port
    rights = ("+@all", "-@dangerous", "-xadd", "-zrangebyscore")
    deployed.redis.execute_command(
        *("ACL", "SETUSER", "half", "on", ">word", "~*", "&*", *rights)
    )
    url = f"redis://half:word@127.0.0.1:{port}/0"
    found = doctor(deployed, REDIS_URL=url, CELERY_BROKER_URL=deployed.server.url)
    redis_problem = "redis: its user may not run: xadd, zrangebyscore. "
    assert any(text.startswith(redis_problem) for text in found["problem"])
    assert any("its user may not run INFO" in text for text in found["warning"])


def test_the_commands_that_are_tried_are_those_of_the_docs(deployed):
    """A user with exactly the documented permissions lacks none, and each command that
    is taken from it is named."""
    acl = Page("docs/OPERATIONS.md").block("acl-state").text.split()
    named = {one[1:] for one in acl if one.startswith("+")}
    # A connection, or a transaction of the library, needs these.
    named -= {"ping", "select", "multi", "exec"}
    deployed.redis.execute_command(
        *("ACL", "SETUSER", "nothing", "on", ">word", "~*", "+ping", "+select")
    )
    url = f"redis://nothing:word@127.0.0.1:{deployed.server.port}/0"
    settings = Settings.from_env({**deployed.environ, "REDIS_URL": url})
    denied = Presence.open(settings).servers.denied_commands()
    assert {one.command for one in denied} == named


@pytest.mark.slow
def test_no_worker_and_no_beat(own_system_of: Callable[..., System]):
    system = own_system_of()
    system.processes["beat"].stop()
    assert problem(system, "beat").startswith("no sweep within 7 s")
    system.processes["worker"].stop()
    worker, beat = doctor(system)["problem"]
    assert worker.startswith("worker: none has answered within 10 s")
    assert beat.startswith("beat: without a worker it is unknown")
    system.processes["web0"].stop()
    assert doctor(system)["problem"][0].startswith("web: no gateway lives")


@pytest.mark.slow
def test_an_origin_that_the_web_processes_do_not_know(deployed):
    other = f"{ORIGIN},https://other.example.com"
    environ = {"PRESENCE_ALLOWED_ORIGINS": other}
    text = problem(deployed, "url", "--url", deployed.url(), **environ)
    assert text.startswith("a page of https://other.example.com may not call it")


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The URL of a server that answers by `handler`."""
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


OTHER = "another-secret-with-more-than-32-characters"


def test_a_secret_that_the_gateways_do_not_have(deployed):
    url = deployed.url()
    text = problem(deployed, "secrets", "--url", url, PRESENCE_JWT_SECRET=OTHER)
    start = f"PRESENCE_JWT_SECRET differs in the web process at {url}: "
    assert text.startswith(start)
    assert "not signed with PRESENCE_JWT_SECRET" in text
    assert OTHER not in text
    path = f"/api/admin/users/{USER}"
    status, _ = deployed.request("GET", path, token=SERVICE_KEY)
    assert status == 404, "the token of the question has stored a user"


@pytest.mark.slow
def test_a_second_secret_that_a_gateway_lacks(deployed):
    with deployed.another_web(PRESENCE_JWT_SECRET=OTHER) as number:
        url = deployed.url(number)
        both = f"{OTHER},{OTHER[::-1]}"
        text = problem(deployed, "secrets", "--url", url, PRESENCE_JWT_SECRET=both)
    assert text.startswith("secret 2 of PRESENCE_JWT_SECRET differs in the web process")


@pytest.mark.parametrize(
    ("there", "here", "why"),
    [
        pytest.param(SERVICE_KEY, OTHER, "it has another one", id="another one"),
        pytest.param(
            *(SERVICE_KEY, "", "it has one, and this command has none"),
            marks=pytest.mark.slow,
            id="none here",
        ),
        pytest.param("", OTHER, "it has none", marks=pytest.mark.slow, id="none there"),
        pytest.param("", "", None, marks=pytest.mark.slow, id="none at all"),
    ],
)
def test_a_service_key_that_differs(deployed, there, here, why):
    with deployed.another_web(PRESENCE_SERVICE_KEY=there) as number:
        url = deployed.url(number)
        found = doctor(deployed, "--url", url, PRESENCE_SERVICE_KEY=here)
    where = f"the web process at {url}"
    expected = f"secrets: PRESENCE_SERVICE_KEY differs in {where}: {why}"
    assert [one.startswith(expected) for one in found["problem"]] == [True] * bool(why)


def test_settings_that_a_gateway_does_not_have(deployed):
    environ = {"PRESENCE_TRUSTED_PROXIES": "1", "PRESENCE_JWT_ISSUER": "example"}
    with deployed.another_web(**environ) as number:
        found = doctor(deployed, "--url", deployed.url(number))["problem"]
    first, second = found
    process = r"[^, ]+\.\d+"
    proxies = f"web: PRESENCE_TRUSTED_PROXIES is 1 in {process}, and 0 in this command"
    issuer = f"web: PRESENCE_JWT_ISSUER is example in {process}, and not set in "
    assert re.match(proxies, first)
    assert re.match(issuer, second)


class Answers(BaseHTTPRequestHandler):
    """Two gateways behind a URL. Only one of them has the secret. No page of operators
    comes through."""

    seen: ClassVar[list[str]] = []
    messages = itertools.cycle([EXPIRED, "it is not signed with PRESENCE_JWT_SECRET"])

    def do_GET(self):
        self.seen.append(f"{self.path} {self.headers}")
        status, error = 403, "<html>"
        if self.path == STATUS_PATH:
            message = next(self.messages)
            status, code = 401, "not_authenticated"
            error = json.dumps({"error": {"code": code, "message": message}})
        self.send_response(status)
        self.send_header("Content-Length", str(len(error)))
        self.end_headers()
        self.wfile.write(error.encode())

    def log_message(self, *_arguments):
        pass


def secret_findings(url: str, **environ: str) -> list[str]:
    given = {"PRESENCE_JWT_SECRET": OTHER, "PRESENCE_SERVICE_KEY": SERVICE_KEY}
    settings = Settings.from_env({**given, **environ})
    return [one.line for one in check_secrets_at(settings, url)]


def test_some_of_several_gateways_have_another_secret():
    with serving(Answers) as url:
        jwt, key = secret_findings(url)
    where = f"some of the web processes at {url}"
    assert f"secrets: PRESENCE_JWT_SECRET differs in {where}" in jwt
    assert "each server's own address as --url" in jwt
    why = "PRESENCE_SERVICE_KEY (/admin/state answers 403)"
    assert key.endswith(f"secrets: not compared with {url}: {why}")
    assert len(Answers.seen) == 2 * CALLS
    assert not any(SERVICE_KEY in one or OTHER in one for one in Answers.seen)


def test_no_session_is_sent_where_others_can_read_it():
    """Nothing listens there: the question is not even asked."""
    (text,) = secret_findings("http://127.0.0.2:9")
    assert "PRESENCE_JWT_SECRET (no answer: " in text
    assert text.endswith("PRESENCE_SERVICE_KEY (the URL has no https)")


class Proxy(BaseHTTPRequestHandler):
    """A proxy that passes no upgrade."""

    def do_GET(self):
        known = {"/healthz": (200, b'{"status": "ok"}')}
        status, body = known.get(self.path, (400, b"no upgrade here"))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_OPTIONS(self):
        self.send_response(204)
        self.send_header("Access-Control-Allow-Origin", ORIGIN)
        self.end_headers()

    def log_message(self, *_arguments):
        pass


def test_a_proxy_that_passes_no_websocket(deployed):
    with serving(Proxy) as url:
        text = problem(deployed, "url", "--url", f"{url}/")
    assert text.startswith("no WebSocket comes through: ")


@pytest.mark.slow
def test_a_url_with_a_self_signed_certificate(deployed, tmp_path: Path):
    chain, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    with HTTPServer(("127.0.0.1", 0), Proxy) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"https://localhost:{server.server_port}"
            text = problem(deployed, "url", "--url", url)
            trusted = {"SSL_CERT_FILE": str(chain)}
            later = problem(deployed, "url", "--url", url, **trusted)
        finally:
            server.shutdown()
            thread.join()
    assert "run this with SSL_CERT_FILE=fullchain.pem" in text
    assert later.startswith("no WebSocket comes through")


@pytest.mark.slow
def test_a_url_where_nothing_or_something_else_answers(deployed):
    nothing = problem(deployed, "url", "--url", "http://127.0.0.1:9")
    assert nothing.startswith("http://127.0.0.1:9 does not answer")
    assert "Check whether the web processes run" in nothing
    other = problem(deployed, "url", "--url", f"{deployed.url()}/static")
    assert other.startswith(f"{deployed.url()}/static/healthz answers 404")


@pytest.mark.slow
def test_a_wrong_setting_is_one_line():
    done = subprocess.run(
        DOCTOR,
        cwd=PROJECT_ROOT,
        env={**os.environ, "PRESENCE_JWT_SECRET": "short"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr.startswith("greendot: PRESENCE_JWT_SECRET has only 5 characters")
