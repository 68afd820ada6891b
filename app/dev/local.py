"""`make run`: all of Greendot on this computer, with demo users in its own database.

If the environment lacks a setting, it gets a value here: secrets, a database file and a
Valkey in var/, a free port. Then the lines of the Procfile are run, as in a deployment.
Only the address differs: Greendot can be reached from this computer only.
`python -m app.dev flask ...` runs one of the commands in app/cli.py with the same
settings. `python -m app.dev doctor` is `flask doctor` with the URL of the running one.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import secrets
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn

from app.dev.processes import Ended, Processes, Stopped, read_procfile
from app.dev.servers import (
    LocalError,
    check_database,
    check_redis,
    valkey_command,
    wait_for_redis,
)
from config import PROJECT_ROOT, PUBLIC_KEYS, Settings, SettingsError

_SECRETS = ("SECRET_KEY", "PRESENCE_JWT_SECRET", "PRESENCE_SERVICE_KEY")
_FLASK = f"{shlex.quote(sys.executable)} -m flask --app wsgi"
_VALKEY_URL = "valkey.url"  # a file that exists while our own Valkey runs
_OWN_URL = "greendot.url"  # a file that exists while Greendot runs
_LOG = "greendot.log"
_LOCK = "run.lock"  # locked while a `make run` uses this folder; contains its URL
_READY_SECONDS = 20.0
_POLL_SECONDS = 0.1
_STOP_SECONDS = 10.0  # after the drain window
_FREE_PORTS = 100

_HELP = """\
usage: python -m app.dev [doctor | flask COMMAND]

  (nothing)      start Greendot on this computer, as `make run` does. PORT=9000
                 chooses the port, V=1 shows the log here, and GREENDOT_VAR=FOLDER
                 has the data
  doctor         look for mistakes in the Greendot that runs, as `make doctor` does
  flask COMMAND  run a command with the settings of `make run`: explain, import-csv,
                 revoke, sync or token. `flask --help` lists all of them"""
_WELCOME = """
{first}

  As a client:  curl -H "Authorization: Bearer $(make -s token NAME={name})" \\
                  {url}/api/friends/online-status

  Ctrl-C stops everything.

Greendot is ready: {url}"""
_WITH_DEMO = """\
  Open the URL below: it shows two people, and each sees the other's green dot. Cut the
  cable of one, and see what happens to the dot. {url}/one is the page of
  one user: for two users, open it in two windows, one of them private."""
_WITHOUT_DEMO = """\
  There are no demo users and no sign-in page. PRESENCE_DEMO=1 adds both, and writes the
  users into your database. README.md says how to load your own graph."""
# Not valid in a shell. So a command copied with this text fails and creates no user.
_NOBODY = "<user id>"


def main(arguments: list[str]) -> int:
    """Run Greendot until it is stopped, or one command. Returns the exit code."""
    if arguments[:1] in (["-h"], ["--help"]):
        print(_HELP)
        return 0
    if arguments and arguments[0] not in {"flask", "doctor"}:
        print(f"greendot: no such command: {arguments[0]}\n{_HELP}", file=sys.stderr)
        return 2
    try:
        var = Path(os.environ.get("GREENDOT_VAR") or PROJECT_ROOT / "var").resolve()
        environ = environment(var)
        os.chdir(PROJECT_ROOT)
        if arguments:
            command, *options = arguments
            if command == "doctor":
                options = ["doctor", "--url", _running(var), *options]
            return _flask(environ, options, var)
        settings = Settings.from_env(environ)
        check_database(settings.database_url)
        if "REDIS_URL" in environ:
            check_redis(environ["REDIS_URL"])
            _choose_port(environ, settings)
            return _run(environ, settings, var, None)
        # Two runs would share one database, but each would have its own Valkey. Their
        # users would not see each other.
        with only_one(var / _LOCK) as write_url:
            _choose_port(environ, settings)
            write_url(_url(environ["PORT"]))
            valkey, environ["REDIS_URL"] = valkey_command(var / "valkey")
            return _run(environ, settings, var, valkey)
    except (LocalError, SettingsError, OSError) as error:
        print(f"greendot: {error}", file=sys.stderr)
        return 1


@contextmanager
def only_one(lock: Path) -> Iterator[Callable[[str], None]]:
    """Lock `lock`. Yields a function that writes the URL of Greendot into it.

    Raises:
        LocalError: another process has locked `lock`.
    """
    with lock.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            message = (
                f"it runs here already: {file.read()}. GREENDOT_VAR=FOLDER makes a "
                f"second one with its own data"
            )
            raise LocalError(message) from None
        file.truncate(0)

        def write_url(url: str) -> None:
            file.write(url)
            file.flush()

        yield write_url


def _choose_port(environ: dict[str, str], settings: Settings) -> None:
    environ["PORT"] = str(choose_port(settings.port, asked="PORT" in environ))


def environment(var: Path) -> dict[str, str]:
    """The environment of this process, plus the settings that a local run needs.

    Raises:
        LocalError: the secrets stored in `var` cannot be read.
    """
    var.mkdir(parents=True, exist_ok=True)
    given = {name: value for name, value in os.environ.items() if value.strip()}
    # Demo users go into our own file only. Another database may have real users with
    # the same ids.
    file = f"sqlite:///{var / 'greendot.db'}"
    own_file = {"DATABASE_URL": file, "PRESENCE_DEMO": "1"}
    secrets = _kept_secrets(var / "secrets.json")
    if any(name in given for name in PUBLIC_KEYS):  # then Greendot signs no tokens
        del secrets["PRESENCE_JWT_SECRET"], own_file["PRESENCE_DEMO"]
    environ = {
        **secrets,
        **({} if "DATABASE_URL" in given else own_file),
        "PRESENCE_DRAIN_WINDOW": "1",
        "WEB_CONCURRENCY": "2",  # two gateways, so that events between them are seen
        "PYTHONUNBUFFERED": "1",
        **given,
    }
    # Find gunicorn and celery of this Python, even if its virtual environment is not
    # active.
    path = (str(Path(sys.executable).parent), environ.get("PATH", os.defpath))
    environ["PATH"] = os.pathsep.join(path)
    return environ


def _running(var: Path) -> str:
    """The URL of the Greendot that runs with the data in `var`.

    Raises:
        LocalError: there is none.
    """
    try:
        return (var / _OWN_URL).read_text(encoding="utf-8")
    except FileNotFoundError:
        message = f"nothing runs here with the data in {var}: start it by `make run`"
        raise LocalError(message) from None


def _flask(environ: dict[str, str], arguments: list[str], var: Path) -> int:
    url = var / _VALKEY_URL
    if url.exists():
        environ.setdefault("REDIS_URL", url.read_text(encoding="utf-8"))
    command = [*shlex.split(_FLASK), *arguments]
    return subprocess.call(command, env=environ)  # noqa: S603  the user's own command


def _run(
    environ: dict[str, str], settings: Settings, var: Path, valkey: str | None
) -> int:
    url = var / _VALKEY_URL
    with (
        _log_file(var / _LOG) as log,
        Processes(environ, settings.drain_window + _STOP_SECONDS, log) as processes,
    ):
        try:
            if log is not None:
                processes.say(f"Greendot is starting. Its log is {log.name}")
            if valkey is not None:
                with (var / "valkey.log").open("wb") as own_log:
                    processes.start("valkey", valkey, own_log)
                wait_for_redis(environ["REDIS_URL"], var / "valkey.log")
                url.write_text(environ["REDIS_URL"], encoding="utf-8")
            (var / _OWN_URL).write_text(_url(environ["PORT"]), encoding="utf-8")
            _serve(processes, settings, int(environ["PORT"]))
        except Stopped:
            processes.say("Stopping everything")
            return 0
        except Ended as ended:
            if last := processes.last_lines(ended.name):
                processes.say(f"The last lines of {ended.name}:\n\n{last}\n")
            # Twice: the log shows when it happened, and a script reads stderr.
            processes.say(f"{ended}: stopping everything")
            print(f"greendot: {ended}", file=sys.stderr)
            return ended.code or 1
        finally:
            url.unlink(missing_ok=True)
            (var / _OWN_URL).unlink(missing_ok=True)


@contextmanager
def _log_file(path: Path) -> Iterator[IO[str] | None]:
    """The new log file at `path`. None with V=1: the log is shown in the terminal."""
    if os.environ.get("V") == "1":
        yield None
    else:
        with path.open("w", encoding="utf-8") as log:
            yield log


def _serve(processes: Processes, settings: Settings, port: int) -> NoReturn:
    lines = read_procfile(PROJECT_ROOT / "Procfile")
    processes.finish("release", lines.pop("release"))
    if settings.demo:
        processes.finish("seed", f"{_FLASK} seed-demo")
    # The demo must not be reachable from the network, because anybody can sign in. A
    # flag on the command line overrides GUNICORN_CMD_ARGS.
    lines["web"] += f" --bind=127.0.0.1:{port}"
    for name, command in lines.items():
        processes.start(name, command)
    threading.Thread(
        target=_announce,
        args=(processes, port),
        kwargs={"demo": settings.demo},
        daemon=True,
    ).start()
    raise processes.wait()


def _announce(processes: Processes, port: int, *, demo: bool) -> None:
    """Print the address and the next steps once Greendot is ready."""
    late = time.monotonic() + _READY_SECONDS
    while (answer := _ask_ready(port)) is not None:
        if time.monotonic() > late:
            processes.say(f"Greendot is not ready yet: {answer}")
            late += _READY_SECONDS
        time.sleep(_POLL_SECONDS)
    url = _url(port)
    first, name = (_WITH_DEMO, "ada") if demo else (_WITHOUT_DEMO, _NOBODY)
    first = first.format(url=url)
    processes.say(_WELCOME.format(url=url, first=first, name=name))


def _url(port: int | str) -> str:
    return f"http://localhost:{port}"


def _ask_ready(port: int) -> str | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = answer.read().decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return str(error)
    finally:
        connection.close()
    return None if answer.status == http.HTTPStatus.OK else body


def _kept_secrets(path: Path) -> dict[str, str]:
    """The secrets of this computer. They are made once and stored in `path`, so that
    tokens stay valid."""
    if not path.exists():
        made = {name: secrets.token_urlsafe(32) for name in _SECRETS}
        mode = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(path, mode, 0o600), "w", encoding="utf-8") as file:
            json.dump(made, file, indent=2)
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {name: str(kept[name]) for name in _SECRETS}
    except (ValueError, KeyError, TypeError):
        message = f"{path} has no valid secrets: delete it, and new ones are made"
        raise LocalError(message) from None


def choose_port(wanted: int, *, asked: bool) -> int:
    """The port to listen on: `wanted`, or the next free one unless `asked` is true.

    Raises:
        LocalError: no port is free.
    """
    candidates = range(wanted, wanted + (1 if asked else _FREE_PORTS))
    for port in candidates:
        if _is_free(port):
            return port
    if asked:
        message = f"PORT={wanted}: another program listens there; choose another port"
    else:
        message = f"no port from {wanted} to {candidates[-1]} is free: set PORT"
    raise LocalError(message)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    # If another program listens on all addresses, macOS still allows the bind. So also
    # try to connect.
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
