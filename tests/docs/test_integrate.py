"""docs/INTEGRATE.md names the methods of both packages, and the routes they call."""

from __future__ import annotations

import contextlib
import inspect
import json
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from config import PROJECT_ROOT
from greendot_client import Admin
from tests.docs.pages import Page, code
from tests.docs.test_readme import node

TABLE = Page("docs/INTEGRATE.md").table(
    "route under `/api/admin`", "Python: `Admin`", "JavaScript: `createAdmin`"
)
ROUTES = Page("docs/PROTOCOL.md").table("route", "caller", "what")
SERVER = PROJECT_ROOT / "app" / "static" / "greendot" / "server.js"
NO_ROUTE = {"close", "unchanged"}
"""Methods that are about any route, or about none."""
CALLS = f"""
import {{ createAdmin }} from "{SERVER.as_uri()}";
let asked;
const fetch = async (url, {{ method }}) => {{
  asked = `${{method}} ${{new URL(url).pathname}}`;
  return new Response('{{"data": {{}}}}');
}};
const seen = {{}};
const admin = createAdmin({{ url: "http://host", key: "key", fetch }});
for (const [name, method] of Object.entries(admin)) {{
  const answer = method("a", "b", ["c"]);
  // Only the request matters here, not what a method makes of an empty answer.
  await (answer.next?.() ?? answer).catch(() => {{}});
  seen[name] = asked;
}}
console.log(JSON.stringify(seen));
"""


def named(column: int) -> dict[str, str]:
    """Method -> route, as the table says."""
    return {
        method: code(row[0])
        for row in TABLE
        for method in re.findall(r"`(\w+)`", row[column])
    }


def is_of(request: str, route: str) -> bool:
    method, path = route.split()
    pattern = re.sub(r"\{\w+\}", "[^/]+", f"{method} /api/admin{path}")
    return re.fullmatch(pattern, request) is not None


def test_the_routes_are_those_for_the_host():
    served = set()
    for row in ROUTES:
        *methods, path = code(row[0]).split()
        if path.startswith("/api/admin/"):
            served |= {f"{one} {path.removeprefix('/api/admin')}" for one in methods}
    assert sorted(code(row[0]) for row in TABLE) == sorted(served)


def test_the_methods_of_javascript_call_these_routes():
    done = subprocess.run(
        [*node(), "--input-type=module", "-e", CALLS],
        capture_output=True,
        text=True,
        check=True,
    )
    asked = json.loads(done.stdout)
    expected = named(2)
    assert sorted(asked) == sorted(expected)
    wrong = {one: asked[one] for one in asked if not is_of(asked[one], expected[one])}
    assert wrong == {}


class Recorder(BaseHTTPRequestHandler):
    """Answers anything with an empty object."""

    asked: str

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        type(self).asked = f"{self.command} {self.path.partition('?')[0]}"
        body = b'{"data": {}}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def recorder() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Recorder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def call(method: Callable[..., object]) -> None:
    """Call it with arguments that its types allow."""
    parameters = inspect.signature(method).parameters.values()
    given = [
        ["c"] if "Iterable" in str(one.annotation) else one.name
        for one in parameters
        if one.kind is one.POSITIONAL_OR_KEYWORD and one.default is one.empty
    ]
    # Only the request matters here, not what a method makes of an empty answer.
    with contextlib.suppress(LookupError, TypeError):
        answer = method(*given)
        if isinstance(answer, Iterator):
            next(answer, None)


def test_the_methods_of_python_call_these_routes(recorder):
    expected = named(1)
    public = {name for name in vars(Admin) if not name.startswith("_")}
    assert sorted(public - NO_ROUTE) == sorted(expected)
    wrong = {}
    with Admin(recorder, "key") as admin:
        for name, route in expected.items():
            Recorder.asked = "nothing"
            call(getattr(admin, name))
            if not is_of(Recorder.asked, route):
                wrong[name] = Recorder.asked
    assert wrong == {}
