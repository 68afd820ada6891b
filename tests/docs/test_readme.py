"""README.md and the pages that it leads to are true: their clients, commands and tables
are tried as they stand there."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import jwt
import pytest
from websockets.sync.server import ServerConnection, serve

from app.dev.local import environment
from app.dev.processes import read_procfile
from config import PROJECT_ROOT, Settings, SettingsError
from tests.clients import Client
from tests.docs.pages import Page, code
from tests.servers import free_port
from tests.system import JWT_SECRET, SERVICE_KEY, System, wait_until

PAGE = Page("README.md")
HOME = Page("docs/index.md")
INSTALL = Page("docs/INSTALL.md")
INTEGRATE = Page("docs/INTEGRATE.md")
CONFIGURE = Page("docs/CONFIGURE.md")
PROTOCOL = Page("docs/PROTOCOL.md")
MAX_LINES = 250
PACKAGE = PROJECT_ROOT / "app" / "static" / "greendot"
BIN = Path(sys.executable).parent
Start = Callable[..., Path]
SHOWN_FOLDER = "/tmp/graph"  # noqa: S108 - of the reader; here it is replaced


def name(user: str) -> str:
    """A user of this very test."""
    return f"{user}-{os.urandom(4).hex()}"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a client as a process of its own; its output goes to the file returned."""
    with contextlib.ExitStack() as stack:

        def run(command: list[str], **environ: str) -> Path:
            output = tmp_path / "output"
            process = subprocess.Popen(
                command,
                cwd=tmp_path,
                env={**os.environ, **environ},
                stdout=stack.enter_context(output.open("wb")),
                stderr=subprocess.STDOUT,
            )
            stack.callback(process.wait, 10)
            stack.callback(process.send_signal, signal.SIGKILL)
            return output

        yield run


def node() -> list[str]:
    """Node with a WebSocket: from 22 on by itself, 20 has it behind a flag."""
    binary = shutil.which("node")
    flags: tuple[list[str], ...] = ([], ["--experimental-websocket"])
    for flag in flags if binary else ():
        has = subprocess.run(
            [
                binary,
                *flag,
                "-e",
                "new WebSocket('ws://127.0.0.1:9').onerror = () => 0",
            ],
            capture_output=True,
            check=False,
        )
        if has.returncode == 0:
            return [binary, *flag]
    pytest.skip("NOT TESTED: the README's JavaScript, for want of node >= 22")


def has_line(output: Path, *parts: str) -> Callable[[], bool]:
    return lambda: any(
        all(part in line for part in parts) for line in output.read_text().splitlines()
    )


def assert_follows(system: System, start: Start, command: list[str]) -> None:
    """The client is online, sees a friend come and go, and its heartbeats count."""
    ada, grace = name("ada"), name("grace")
    system.befriend(ada, grace)
    output = start(command, GREENDOT_URL=system.url(), GREENDOT_TOKEN=system.token(ada))
    wait_until(has_line(output, "presence_snapshot", grace, "offline"), 20)
    assert system.is_online(ada)
    with Client(system, grace, web=1).opened() as friend:
        wait_until(has_line(output, "friend_status_changed", grace, "online"))
        wait_until(has_line(output, "heartbeat_ack"))
        friend.send("leave")
        wait_until(has_line(output, "friend_status_changed", grace, "offline"))


@pytest.mark.e2e
def test_the_python_client_works(system: System, start: Start, tmp_path: Path):
    (tmp_path / "client.py").write_text(_client("python"))
    assert_follows(system, start, [sys.executable, "client.py"])


@pytest.mark.e2e
def test_the_javascript_client_works(system: System, start: Start, tmp_path: Path):
    (tmp_path / "client.mjs").write_text(_client("js"))
    assert_follows(system, start, [*node(), "client.mjs"])


@pytest.mark.e2e
@pytest.mark.parametrize("language", ["python", "js"])
def test_the_clients_give_a_bad_token_up(system: System, tmp_path: Path, language: str):
    (tmp_path / "client.mjs").write_text(_client(language))
    command = [sys.executable] if language == "python" else node()
    done = subprocess.run(
        [*command, "client.mjs"],
        cwd=tmp_path,
        env={**os.environ, "GREENDOT_URL": system.url(), "GREENDOT_TOKEN": "nonsense"},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert "4401" in done.stderr or "sign in" in done.stderr


def test_the_python_client_passes_over_what_it_does_not_know(
    start: Start, tmp_path: Path
):
    """As PROTOCOL.md asks of clients: fields and events of a later version."""
    came = threading.Event()
    later = [
        {"id": 1, "event": "welcome", "data": {"heartbeat_interval": 20}},
        {"id": 2, "event": "invented", "data": {}},
        {"event": "presence_snapshot", "data": {"statuses": {}, "more": 1}, "id": 3},
    ]

    def serve_later(socket: ServerConnection) -> None:
        for frame in later:
            socket.send(json.dumps(frame))
        came.wait(20)
        socket.close(1012)

    with serve(serve_later, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        (tmp_path / "client.py").write_text(_client("python"))
        output = start(
            [sys.executable, "client.py"],
            GREENDOT_URL=f"http://127.0.0.1:{server.socket.getsockname()[1]}",
            GREENDOT_TOKEN="any",
        )
        try:
            wait_until(has_line(output, "presence_snapshot"), 20)
            came.set()
            wait_until(lambda: output.read_text().count("presence_snapshot") > 1)
        finally:
            came.set()
            server.shutdown()
            thread.join()


PRELUDES = {
    "python": """
import asyncio, random
async def note(seconds, sleep=asyncio.sleep):
    if asyncio.current_task().get_coro().__name__ == "follow":
        print("pause", float(seconds))
        seconds = 0
    await sleep(seconds)
asyncio.sleep = note
random.uniform = lambda low, high: low + RANDOM * (high - low)
""",
    "js": """
const later = globalThis.setTimeout;
globalThis.setTimeout = (call, ms, ...given) => {
  if (call.name !== "start") return later(call, ms, ...given);
  console.log("pause", (ms / 1000).toFixed(1));
  return later(call, 0);
};
Math.random = () => RANDOM;
globalThis.fetch = async () => new Response('{"data": {"ticket": "any"}}');
""",
}
"""They print each pause before a new attempt, and make it short. RANDOM is a number."""
CLOSE_CODES = (1002, 1007, 1009, 4400, 1011, 1013, 4429, 1012, 4408, 4401)


@pytest.mark.parametrize("language", ["python", "js"])
@pytest.mark.parametrize(
    ("by", "pauses"),
    [
        (0, [30, 30, 30, 30, 3, 3, 3, 0, 0]),
        # The bound of the random time doubles up to 30 s.
        (1, [30 + 1, 30 + 2, 30 + 4, 30 + 8, 3 + 16, 3 + 30, 3 + 30, 0, 30]),
    ],
)
def test_the_clients_wait_as_the_close_code_asks(
    tmp_path: Path, language: str, by: int, pauses: list[float]
):
    codes = iter(CLOSE_CODES)

    def serve_closes(socket: ServerConnection) -> None:
        socket.close(next(codes))

    prelude = PRELUDES[language].replace("RANDOM", str(by))
    (tmp_path / "client.mjs").write_text(prelude + _client(language))
    command = [sys.executable] if language == "python" else node()
    with serve(serve_closes, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"127.0.0.1:{server.socket.getsockname()[1]}"
        try:
            done = subprocess.run(
                [*command, "client.mjs"],
                cwd=tmp_path,
                env={
                    **os.environ,
                    "GREENDOT_URL": f"http://{address}",
                    "GREENDOT_TOKEN": "any",
                },
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
        finally:
            server.shutdown()
            thread.join()
    shown = [line for line in done.stdout.splitlines() if line.startswith("pause")]
    assert shown == [f"pause {pause:.1f}" for pause in pauses], done.stderr


def _client(language: str) -> str:
    (text,) = [
        block.text for block in PAGE.blocks("client") if block.language == language
    ]
    return text


@pytest.mark.parametrize("language", ["python", "js"])
def test_the_clients_are_short(language: str):
    lines = [
        line
        for line in _client(language).splitlines()
        if line.strip() and not line.startswith(("import ", "from "))
    ]
    assert len(lines) <= 25


@pytest.mark.e2e
def test_the_client_for_pages_works(system: System, start: Start, tmp_path: Path):
    # As npm installs it from a folder: by a link.
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "greendot-client").symlink_to(PACKAGE)
    (tmp_path / "page.mjs").write_text(
        "const { GREENDOT_URL: url, GREENDOT_TOKEN: token } = process.env;\n"
        + PAGE.block("page").text
        + "presence.connect();\n"  # by itself it connects in pages only
    )
    ada, grace = name("ada"), name("grace")
    system.befriend(ada, grace)
    output = start(
        [*node(), "page.mjs"],
        GREENDOT_URL=system.url(),
        GREENDOT_TOKEN=system.token(ada),
    )
    wait_until(lambda: system.is_online(ada), 20)
    with Client(system, grace, web=1).opened():
        wait_until(has_line(output, f"online: {grace}"))


def test_the_react_bindings_are_named_as_they_are():
    """The browser tests run them; this is about the names on the page."""
    imported = re.search(
        r"import \{ (.*) \} from \"(.*)\";", INTEGRATE.block("react").text
    )
    assert imported is not None
    package = json.loads((PACKAGE / "package.json").read_text())
    path = imported[2].replace(package["name"], ".")
    bindings = (PACKAGE / package["exports"][path]["default"]).read_text()
    for binding in imported[1].split(", "):
        assert f"export function {binding}(" in bindings
    options = bindings + (PACKAGE / "client.js").read_text()
    given = set(re.findall(r"\b(\w+)=\{?\"?", INTEGRATE.block("react").text))
    for prop in given - {"key"}:
        assert re.search(rf"\b{prop}\b", options), prop


@pytest.mark.e2e
def test_the_token_is_taken(system: System):
    done = subprocess.run(
        [sys.executable, "-c", PAGE.block("token").text],
        env={**os.environ, "PRESENCE_JWT_SECRET": JWT_SECRET},
        capture_output=True,
        text=True,
        check=True,
    )
    token = done.stdout.strip()
    path = "/api/friends/online-status"
    assert system.request("GET", path, token=token)[0] == 200


YOURS_PY = """
from types import SimpleNamespace
signed_in = lambda: SimpleNamespace(id="{user}", name="Ann")
friends_of = lambda user_id: ["{friend}"]
"""
YOURS_JS = """
export const signedIn = async () => ({{ id: "{user}", name: "Ann" }});
export const friendsOf = async (id) => ["{friend}"];
"""
SERVE = "from host import app; import os; app.run(port=int(os.environ['PORT']))"
# Express is no dependency. This stands for the part of it that the page uses.
EXPRESS = """
import { createServer } from "node:http";
export default () => {
  const routes = {};
  return {
    post: (path, handler) => { routes["POST " + path] = handler; },
    listen: (port) => createServer((request, raw) => {
      const response = {
        status: (code) => { raw.statusCode = code; return response; },
        json: (value) => raw.end(JSON.stringify(value)),
      };
      return routes[`${request.method} ${request.url}`](request, response);
    }).listen(port, "127.0.0.1"),
  };
};
"""


@pytest.mark.e2e
@pytest.mark.parametrize("language", ["flask", "express"])
def test_a_host_signs_its_users_in_as_shown(
    system: System, start: Start, tmp_path: Path, language: str
):
    user, friend = f"auth0|{name('ann')}", name("bob")
    names = {"user": user, "friend": friend}
    text = INTEGRATE.block(language).text
    if language == "flask":
        (tmp_path / "host.py").write_text(text)
        (tmp_path / "yours.py").write_text(YOURS_PY.format(**names))
        command = [sys.executable, "-c", SERVE]
    else:
        (tmp_path / "host.mjs").write_text(text.replace("yours.js", "yours.mjs"))
        (tmp_path / "yours.mjs").write_text(YOURS_JS.format(**names))
        express = tmp_path / "node_modules" / "express"
        express.mkdir(parents=True)
        (express / "index.mjs").write_text(EXPRESS)
        (express / "package.json").write_text('{"exports": "./index.mjs"}')
        command = [*node(), "host.mjs"]
    port = free_port()
    start(command, GREENDOT_URL=system.url(), KEY=SERVICE_KEY, PORT=str(port))
    request = urllib.request.Request(f"http://127.0.0.1:{port}/presence", method="POST")
    found: dict[str, str] = {}

    def answers() -> bool:
        with (
            contextlib.suppress(urllib.error.URLError),
            urllib.request.urlopen(request, timeout=10) as answer,  # noqa: S310
        ):
            found.update(json.loads(answer.read()))
        return bool(found)

    wait_until(answers, 30)
    assert found.keys() == {"ticket", "expires_in", "token", "token_expires_in"}
    with Client(system, query=f"?ticket={found['ticket']}") as client:
        assert client.expect("welcome")["user_id"] == user
        assert list(client.expect("presence_snapshot")["statuses"]) == [friend]


@pytest.mark.parametrize("page", [PAGE, INTEGRATE])
def test_the_secrets_are_where_make_run_stores_them(tmp_path: Path, page: Page):
    environ = environment(tmp_path / "var")
    done = subprocess.run(
        ["bash", "-euc", page.block("secrets").text + "env"],
        env={"PATH": os.environ["PATH"]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    exported = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert exported["KEY"] == environ["PRESENCE_SERVICE_KEY"]
    if page is PAGE:
        assert exported["PRESENCE_JWT_SECRET"] == environ["PRESENCE_JWT_SECRET"]


@pytest.mark.e2e
def test_the_graph_is_fed_in_as_shown(system: System, tmp_path: Path):
    # curl fails where the server refuses, and the shell at the first failure.
    (tmp_path / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\n")
    graph = tmp_path / "graph"
    environ = {
        **system.environ,
        "CURL_HOME": str(tmp_path),
        "GREENDOT_URL": system.url(),
        "GREENDOT_VAR": str(tmp_path / "var"),
        "KEY": SERVICE_KEY,
    }
    blocks = [
        *PAGE.blocks("curl"),
        *INTEGRATE.blocks("curl"),
        INTEGRATE.block("csv"),
        INTEGRATE.block("sync"),
    ]
    assert len(blocks) == 10
    for block in blocks:
        command = block.text.replace(SHOWN_FOLDER, str(graph))
        command = command.replace(".venv/bin/", f"{BIN}/")
        done = subprocess.run(
            ["bash", "-euc", command],
            env=environ,
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert _friends(system, "ann") == {"bob", "cleo"}
    assert _partners(system, "ann") == {"bob"}  # dan and the trip are deleted
    assert _friends(system, "eve") == _partners(system, "eve") == {"fay"}
    for user_id in ("ann", "bob", "cleo", "eve", "fay"):
        system.admin("DELETE", f"/users/{user_id}")
    for conversation in ("lunch", "books"):
        system.admin("DELETE", f"/conversations/{conversation}")


def _friends(system: System, user_id: str) -> set[str]:
    return _statuses(system, user_id, "/api/friends/online-status")


def _partners(system: System, user_id: str) -> set[str]:
    return _statuses(system, user_id, "/api/conversations/online-status")


def _statuses(system: System, user_id: str, path: str) -> set[str]:
    # The page revokes users. Only a token of a later second is taken after that.
    claims = {"sub": user_id, "iat": int(time.time()) + 1}
    token = jwt.encode(claims, JWT_SECRET, algorithm="HS256")
    status, answer = system.request("GET", path, token=token)
    assert status == 200
    return set(answer["data"]["statuses"])


def test_the_processes_are_those_of_the_procfile():
    lines = [
        re.sub(r"^PORT=\d+ ", "", line)
        for line in INSTALL.block("processes").text.splitlines()
    ]
    procfile = read_procfile(PROJECT_ROOT / "Procfile")
    assert set(lines) == set(procfile.values())
    assert lines.count(procfile["web"]) == 2


def test_the_variables_of_production_are_enough():
    # A shell says what they are, because it also makes the secrets.
    script = f"{INSTALL.block('settings').text}\nenv -0"
    said = subprocess.run(
        ["bash", "-ec", script], capture_output=True, check=True, text=True
    ).stdout
    exported = dict(line.split("=", 1) for line in said.split("\0") if line)
    assert Settings.from_env(exported).demo is False


@pytest.mark.parametrize("page", [PAGE, HOME, INSTALL, INTEGRATE, CONFIGURE])
def test_every_target_that_is_named_exists(page: Page):
    makefile = (PROJECT_ROOT / "Makefile").read_text()
    for target in set(re.findall(r"\bmake (?:-s )?([a-z]+)\b", page.text)):
        # "and make" of a sentence is no target.
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_readme_is_short():
    assert len(PAGE.text.splitlines()) <= MAX_LINES


# The table of settings

SETTINGS = CONFIGURE.table("variable", "default", "what")
SECRET = {"SECRET_KEY": "s" * 32}


class Asked(dict[str, str]):
    """An environment that remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__(SECRET)
        self.names: set[str] = set()

    def get(self, key: str, default: object = None) -> object:
        self.names.add(key)
        return super().get(key, default)


def test_the_table_names_every_setting_and_no_other():
    asked = Asked()
    Settings.from_env(asked)
    names = [code(row[0]) for row in SETTINGS]
    assert len(names) == len(set(names))
    assert set(names) == asked.names


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: code(row[0]))
def test_the_table_has_the_default(row: list[str]):
    variable, default = code(row[0]), row[1]
    names = {code(other[0]) for other in SETTINGS}
    plain = Settings.from_env(SECRET)
    if default.startswith("required"):
        with pytest.raises(SettingsError, match=variable):
            Settings.from_env({})
        Settings.from_env({variable: "s" * 32})
    elif default == "not set":
        assert Settings.from_env({**SECRET, variable: ""}) == plain
        field = variable.removeprefix("PRESENCE_").lower()
        assert not getattr(plain, field)
    elif code(default) in names:
        other = {**SECRET, code(default): f"redis://{'e' * 32}:1/2"}
        same = {**other, variable: f"redis://{'e' * 32}:1/2"}
        assert Settings.from_env(other) == Settings.from_env(same) != plain
    else:
        value = code(default).replace("PROJECT", str(PROJECT_ROOT))
        assert Settings.from_env({**SECRET, variable: value}) == plain


# The table of routes

_ROUTES = """
import json
from app.factory import create_app
from config import Settings

app = create_app(Settings.from_env({"SECRET_KEY": "s" * 32}))
print(json.dumps([
    [rule.rule, sorted(rule.methods - {"HEAD", "OPTIONS"})]
    for rule in app.url_map.iter_rules()
    if rule.endpoint != "static" and rule.rule != "/favicon.ico"
]))
"""


def test_the_table_of_routes_is_that_of_the_application():
    done = subprocess.run(
        [sys.executable, "-c", _ROUTES],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    served = {
        (method, re.sub(r"<(\w+)>", r"{\1}", rule))
        for rule, methods in json.loads(done.stdout)
        for method in methods
    }
    named = set()
    for row in PROTOCOL.table("route", "caller", "what"):
        *methods, path = code(row[0]).split()
        named |= {(method, path) for method in methods}
    assert named == served


def test_no_page_points_to_a_file_that_is_not_there():
    pages = [
        *PROJECT_ROOT.glob("*.md"),
        *PROJECT_ROOT.glob("docs/**/*.md"),
        *PROJECT_ROOT.glob("bench/*.md"),
        *PROJECT_ROOT.glob("examples/*/*.md"),
    ]
    assert len(pages) >= 5
    for page in pages:
        text = page.read_text()
        for link, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", text):
            target = (page.parent / link) if link else page
            assert target.exists(), f"{page}: {link}"
            if anchor:
                assert anchor in anchors(target.read_text()), f"{page}: {link}#{anchor}"


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        for heading in headings
    }
