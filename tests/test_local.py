"""`make run` as a person uses it: real processes, a folder of its own, signals."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.dev.local import choose_port, environment
from app.dev.processes import Ended, Processes, Stopped, read_procfile
from app.dev.servers import LocalError, check_redis, valkey_command, wait_for_redis
from config import PROJECT_ROOT
from models.sql.db import make_engine, session_factory
from models.sql.user import User
from tests.servers import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

START_SECONDS = 90
STOP_SECONDS = 30


class LocalRun:
    """One `python -m app.dev`, its output, and every process it started."""

    def __init__(self, var: Path, **environ: str) -> None:
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PRESENCE_", "DATABASE_", "REDIS_", "CELERY_"))
            and name not in {"PORT", "SECRET_KEY", "WEB_CONCURRENCY"}
            and name != "GUNICORN_CMD_ARGS"
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app.dev"],
            cwd=PROJECT_ROOT,
            env={**clean, "GREENDOT_VAR": str(var), **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._readers = [
            threading.Thread(target=sink.extend, args=(pipe,), daemon=True)
            for sink, pipe in (
                (self.lines, self.process.stdout),
                (self.errors, self.process.stderr),
            )
        ]
        for reader in self._readers:
            reader.start()

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def url(self) -> str:
        """Wait until it says that it is ready, and where."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if found := re.search(r"Greendot is ready: (\S+)", self.output):
                return found[1]
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        pytest.fail(f"not ready:\n{self.output}\n{''.join(self.errors)}")

    def family(self) -> list[psutil.Process]:
        """Everything that runs below it, Valkey and the gunicorn workers too."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: signal.Signals | None = None) -> int:
        """Send the signal, if any, and wait for the end; return the exit code."""
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(STOP_SECONDS)
        for reader in self._readers:
            reader.join(5)
        self.process.stdout.close()
        self.process.stderr.close()
        return code


@pytest.fixture
def local(tmp_path):
    runs: list[LocalRun] = []

    def start(**environ: str) -> LocalRun:
        runs.append(LocalRun(tmp_path / "var", **environ))
        return runs[-1]

    yield start
    for run in runs:
        run.end(signal.SIGTERM)


def is_ready(url: str) -> bool:
    with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:  # noqa: S310
        return answer.status == 200


def friends_of_ada(url: str, var: Path) -> bytes:
    """What REST answers to a token of the command line."""
    token = subprocess.run(
        [sys.executable, "-m", "app.dev", "flask", "token", "ada"],
        cwd=PROJECT_ROOT,
        env={**os.environ, "GREENDOT_VAR": str(var)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    request = urllib.request.Request(  # noqa: S310
        f"{url}/api/friends/online-status",
        headers={"Authorization": f"Bearer {token}"},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        return answer.read().replace(b" ", b"")


def command(var: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m app.dev` with arguments, which ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "app.dev", *arguments],
        cwd=PROJECT_ROOT,
        env={**os.environ, "GREENDOT_VAR": str(var)},
        capture_output=True,
        text=True,
        check=False,
    )


def names_of(family: Iterable[psutil.Process]) -> str:
    return " ".join(" ".join(process.cmdline()) for process in family)


def assert_all_gone(family: list[psutil.Process]) -> None:
    def alive(process: psutil.Process) -> bool:
        # A zombie has ended: whose child it became has only not asked for it yet.
        with suppress(psutil.NoSuchProcess):
            return process.status() != psutil.STATUS_ZOMBIE
        return False

    deadline = time.monotonic() + 2
    while any(map(alive, family)):
        assert time.monotonic() < deadline, names_of(filter(alive, family))
        time.sleep(0.02)


def test_it_serves_until_a_signal_leaves_no_process_and_works_again(local, tmp_path):
    secrets = tmp_path / "var" / "secrets.json"
    kept = set()
    for number in (signal.SIGINT, signal.SIGTERM):
        run = local(PORT=str(free_port()))
        url = run.url()
        assert is_ready(url)
        family = run.family()
        assert "valkey-server" in names_of(family)
        assert names_of(family).count("/gunicorn ") == 3  # a master and two gateways
        assert "tasks.celery_app worker" in names_of(family)
        assert "tasks.celery_app beat" in names_of(family)
        kept.add(secrets.read_bytes())
        assert b'"grace":false' in friends_of_ada(url, tmp_path / "var")

        assert run.end(number) == 0
        assert_all_gone(family)
        assert not "".join(run.errors)
        *_, ready, stopping = run.output.splitlines()
        assert ready == f"Greendot is ready: {url}"
        assert stopping == "Stopping everything"
        log = tmp_path / "var" / "greendot.log"
        assert run.output.startswith(f"Greendot is starting. Its log is {log}\n")
        assert "web      | " not in run.output
        written = log.read_text(encoding="utf-8")
        for name in ("release", "seed", "web", "worker", "beat", "greendot"):
            assert f"\n{name:<8} | " in f"\n{written}"
        assert "Traceback" not in written
    assert len(kept) == 1
    assert secrets.stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
def test_doctor_knows_the_settings_and_the_url(local, tmp_path):
    run = local(PORT=str(free_port()))
    run.url()
    done = command(tmp_path / "var", "doctor")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    problems = [line for line in lines if line.startswith("problem ")]
    assert len(problems) == 1, done.stdout
    assert "PRESENCE_DEMO is set" in problems[0]
    warnings = "\n".join(line for line in lines if line.startswith("warning "))
    # A busy machine may add one about the latency.
    for expected in ("SQLite", "nothing to a disk", "/metrics is open"):
        assert expected in warnings
    assert any("WebSockets and REST come through" in line for line in lines)


def test_doctor_says_where_nothing_runs(tmp_path):
    done = command(tmp_path / "var", "doctor")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("greendot: nothing runs here")
    assert "make run" in done.stderr


def test_help_starts_nothing(tmp_path):
    for option in ("--help", "-h"):
        done = command(tmp_path / "var", option)
        assert done.returncode == 0
        assert done.stdout.startswith("usage: python -m app.dev ")
    done = command(tmp_path / "var", "rnu")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("greendot: no such command: rnu\nusage: ")
    assert not (tmp_path / "var").exists()


@pytest.mark.slow
def test_when_one_process_dies_all_stop_and_it_is_named(local):
    run = local(PORT=str(free_port()), WEB_CONCURRENCY="1")
    run.url()
    family = run.family()
    (beat,) = [process for process in family if "beat" in process.cmdline()]
    beat.kill()
    assert run.end() == 128 + signal.SIGKILL
    assert "".join(run.errors) == "greendot: beat ended (exit code 137)\n"
    assert "The last lines of beat:" in run.output
    assert_all_gone(family)


@pytest.mark.slow
def test_a_given_redis_is_used_and_no_valkey_is_started(local, tmp_path):
    command, url = valkey_command(tmp_path / "data")
    log = tmp_path / "valkey.log"
    with Processes(dict(os.environ), 5) as processes, log.open("wb") as output:
        processes.start("valkey", command, output)
        wait_for_redis(url, log)
        run = local(PORT=str(free_port()), REDIS_URL=url, WEB_CONCURRENCY="1")
        assert is_ready(run.url())
        assert "valkey-server" not in names_of(run.family())
        assert run.end(signal.SIGINT) == 0


@pytest.fixture
def own_database(tmp_path) -> Iterator[tuple[str, sessionmaker[Session]]]:
    """A database in which `ada` is a real user; its URL, and sessions on it."""
    url = f"sqlite:///{tmp_path / 'own.db'}"
    migrate = [sys.executable, "-m", "alembic", "upgrade", "head"]
    environ = {**os.environ, "DATABASE_URL": url, "SECRET_KEY": "s" * 32}
    subprocess.run(migrate, cwd=PROJECT_ROOT, env=environ, check=True)
    engine = make_engine(url)
    sessions = session_factory(engine)
    with sessions.begin() as session:
        session.add(User(id="ada", display_name="Ada of Accounting"))
    yield url, sessions
    engine.dispose()


@pytest.mark.slow
def test_a_given_database_gets_no_demo_users(local, own_database):
    url, sessions = own_database
    run = local(PORT=str(free_port()), DATABASE_URL=url, WEB_CONCURRENCY="1")
    address = run.url()
    assert is_ready(address)
    with sessions() as session:
        users = {user.id: user.display_name for user in session.scalars(select(User))}
    assert users == {"ada": "Ada of Accounting"}
    with urllib.request.urlopen(address, timeout=5) as page:  # noqa: S310
        assert b"Ada" not in page.read()
    assert "There are no demo users" in run.output
    assert "grace" not in run.output


@pytest.mark.parametrize(
    ("given", "demo"),
    [
        ({}, "1"),
        ({"PRESENCE_DEMO": "0"}, "0"),
        ({"DATABASE_URL": ""}, "1"),
        ({"DATABASE_URL": "postgres://h/d"}, None),
        ({"DATABASE_URL": "postgres://h/d", "PRESENCE_DEMO": "1"}, "1"),
    ],
)
def test_the_demo_is_on_unasked_only_with_a_database_of_ours(
    tmp_path, monkeypatch, given, demo
):
    for name in ("DATABASE_URL", "PRESENCE_DEMO"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert environment(tmp_path).get("PRESENCE_DEMO") == demo


@pytest.mark.slow
def test_whatever_gunicorn_is_told_it_listens_on_this_computer_only(local):
    port = free_port()
    told = f"--bind=0.0.0.0:{free_port()} --workers=1"
    run = local(PORT=str(port), GUNICORN_CMD_ARGS=told)
    assert is_ready(run.url())
    family = run.family()
    assert names_of(family).count("/gunicorn ") == 2  # the rest of it holds
    listening = {
        connection.laddr
        for process in family
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert ("127.0.0.1", port) in listening
    assert {address[0] for address in listening} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        (
            {"PRESENCE_ONLINE_TTL": "soon"},
            "greendot: PRESENCE_ONLINE_TTL=soon: takes a number of seconds\n",
        ),
        (
            {"DATABASE_URL": "mysql://h/d"},
            (
                "greendot: DATABASE_URL=mysql://…: takes a postgres://, postgresql:// "
                "or sqlite:/// URL\n"
            ),
        ),
    ],
)
def test_a_wrong_setting_is_one_line(local, environ, line):
    run = local(**environ)
    assert run.end() == 1
    assert "".join(run.errors) == line
    assert run.output == ""


@pytest.mark.parametrize(
    ("setting", "url"),
    [
        ("REDIS_URL", "redis://127.0.0.1:{port}/0"),
        ("DATABASE_URL", "postgres://user:password@127.0.0.1:{port}/greendot"),
    ],
)
def test_a_server_that_is_away_is_one_line(local, setting, url):
    port = free_port()
    run = local(**{setting: url.format(port=port)})
    assert run.end() == 1
    assert len(run.errors) == 1
    assert f"{setting}: nothing answers at 127.0.0.1:{port}" in run.errors[0]
    assert run.output == ""


@pytest.mark.slow
def test_with_v_the_log_is_in_the_terminal(local, tmp_path):
    run = local(PORT=str(free_port()), WEB_CONCURRENCY="1", V="1")
    url = run.url()
    assert f"greendot | Greendot is ready: {url}\n" in run.output
    assert "\nweb      | " in run.output
    assert not (tmp_path / "var" / "greendot.log").exists()


@pytest.mark.slow
def test_a_second_one_in_the_same_folder_is_told_of_the_first(local, tmp_path):
    """They would be two halves that know nothing of each other's users."""
    port = str(free_port())
    first = local(PORT=port, WEB_CONCURRENCY="1")
    url = first.url()
    for wanted in (port, str(free_port())):
        second = local(PORT=wanted)
        assert second.end() == 1
        assert "".join(second.errors).startswith(
            f"greendot: it runs here already: {url}. GREENDOT_VAR="
        )
    assert is_ready(url)
    assert b'"grace":false' in friends_of_ada(url, tmp_path / "var")


def test_an_unreachable_cluster_is_one_line(local):
    ports = free_port(), free_port()
    nodes = ",".join(f"127.0.0.1:{port}" for port in ports)
    run = local(
        REDIS_URL=f"redis+cluster://{nodes}",
        CELERY_BROKER_URL="redis://127.0.0.1/0",
        PRESENCE_SHARDS="2",
    )
    assert run.end() == 1
    assert len(run.errors) == 1
    for port in ports:
        assert f"127.0.0.1:{port} (" in run.errors[0]


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://127.0.0.1:{dead},127.0.0.1:{alive}",
        "redis+sentinel://user:password@127.0.0.1:{dead},127.0.0.1:{alive}/group/1",
    ],
)
def test_one_host_of_many_is_enough(url):
    with closing(socket.socket()) as alive:
        alive.bind(("127.0.0.1", 0))
        alive.listen()
        check_redis(url.format(dead=free_port(), alive=alive.getsockname()[1]))


def test_a_sentinel_without_a_port_is_asked_where_sentinels_listen():
    with pytest.raises(LocalError, match=r" at sentinel\.invalid:26379 "):
        check_redis("redis+sentinel://sentinel.invalid/group")


def test_unreadable_secrets_are_one_line(local, tmp_path):
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "secrets.json").write_text("{}", encoding="utf-8")
    run = local()
    assert run.end() == 1
    assert len(run.errors) == 1
    assert "secrets.json has no valid secrets" in run.errors[0]


def test_a_port_that_was_asked_for_and_is_busy_is_one_line(local):
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        run = local(PORT=str(port))
        assert run.end() == 1
    assert "".join(run.errors) == (
        f"greendot: PORT={port}: another program listens there; choose another port\n"
    )


def test_the_next_port_is_taken_where_nobody_asked_for_one():
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert port < choose_port(port, asked=False) < port + 100
        with pytest.raises(LocalError, match=rf"^PORT={port}: another program"):
            choose_port(port, asked=True)


def test_the_procfile_has_one_command_for_each_kind_of_process():
    lines = read_procfile(PROJECT_ROOT / "Procfile")
    assert list(lines) == ["release", "web", "worker", "beat"]


@pytest.fixture
def signals_restored():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has it ignored
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals_restored")
class TestProcesses:
    def test_the_last_lines_of_a_failed_step_are_known(self, tmp_path, capfd):
        file = tmp_path / "log"
        with (
            file.open("w") as log,
            Processes(os.environ, 5, log) as processes,
            pytest.raises(Ended),
        ):
            processes.finish("step", "sh -c 'seq 100; exit 3'")
        last = processes.last_lines("step").splitlines()
        assert last == [str(number) for number in range(81, 101)]
        assert file.read_text().splitlines()[-1] == "step     | 100"
        assert capfd.readouterr().out == ""

    def test_a_failed_step_is_raised_with_its_code(self, capfd):
        with (
            Processes(os.environ, 5) as processes,
            pytest.raises(Ended, match=r"^step ended \(exit code 3\)$"),
        ):
            processes.finish("step", "sh -c 'echo out; echo err >&2; exit 3'")
        time.sleep(0.1)
        assert capfd.readouterr().out == "step     | out\nstep     | err\n"

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_is_raised_as_a_wish_to_stop(self, number):
        with Processes(os.environ, 5) as processes:
            processes.start("sleep", "sleep 60")
            os.kill(os.getpid(), number)
            with pytest.raises(Stopped):
                processes.wait()

    def test_what_does_not_stop_is_killed_with_all_its_children(self, tmp_path):
        pids = tmp_path / "pids"
        stubborn = f"sh -c 'trap \"\" TERM; sleep 60 & echo $! $$ > {pids}; wait; wait'"
        with Processes(os.environ, 0.5) as processes:
            processes.start("stubborn", stubborn)
            while not (pids.exists() and pids.read_text(encoding="utf-8").strip()):
                time.sleep(0.02)
            numbers = pids.read_text(encoding="utf-8").split()
            family = [psutil.Process(int(number)) for number in numbers]
            assert len(family) == 2
        assert_all_gone(family)


@pytest.mark.parametrize("name", ["PRESENCE_JWKS_URL", "PRESENCE_JWT_PUBLIC_KEY"])
def test_with_public_keys_there_is_neither_a_secret_nor_a_demo(
    tmp_path, monkeypatch, name
):
    monkeypatch.setenv(name, "as given")
    environ = environment(tmp_path)
    assert environ[name] == "as given"
    assert environ.keys().isdisjoint({"PRESENCE_JWT_SECRET", "PRESENCE_DEMO"})
    assert environ["PRESENCE_SERVICE_KEY"]
