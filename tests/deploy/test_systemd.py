"""The units of deploy/systemd/."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from app.dev.processes import read_procfile
from app.server.capacity import needed_files
from config import PROJECT_ROOT, Settings
from tests.deploy.proxies import program
from tests.system import System

FOLDER = PROJECT_ROOT / "deploy" / "systemd"
WEB, RELEASE = "greendot-web@.service", "greendot-release.service"
SERVICES = {
    "web": WEB,
    "worker": "greendot-worker.service",
    "beat": "greendot-beat.service",
    "release": RELEASE,
}
BIN = "/opt/greendot/.venv/bin"


def option(name: str, unit: str) -> str:
    """The one value of an option."""
    (value,) = re.findall(rf"^{name}=(.*)$", (FOLDER / unit).read_text(), re.MULTILINE)
    return value


def test_systemd_accepts_the_units(tmp_path: Path):
    analyze = program("systemd-analyze", "SYSTEMD")
    for file in FOLDER.iterdir():
        name = file.name.replace("@.", "@8000.")
        # The program has to exist, and the tests have it elsewhere.
        text = file.read_text().replace(BIN, str(Path(sys.executable).parent))
        (tmp_path / name).write_text(text)
    said = subprocess.run(
        [analyze, "verify", "--recursive-errors=no", *map(str, tmp_path.iterdir())],
        check=False,
        capture_output=True,
        text=True,
    )
    # It only warns about an option that it does not know.
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


@pytest.mark.parametrize(("line", "unit"), SERVICES.items())
def test_the_commands_are_those_of_the_procfile(line, unit):
    command = option("ExecStart", unit)
    assert (
        command.removeprefix(f"{BIN}/")
        == read_procfile(PROJECT_ROOT / "Procfile")[line]
    )


def test_every_service_of_the_procfile_belongs_to_the_target():
    assert set(SERVICES) == set(read_procfile(PROJECT_ROOT / "Procfile"))
    for unit in SERVICES.values():
        assert option("WantedBy", unit) == "greendot.target"


def test_a_gateway_may_open_enough_files():
    settings = Settings.from_env({"SECRET_KEY": "s" * 32})
    assert int(option("LimitNOFILE", WEB)) >= needed_files(settings)


def test_a_gateway_has_time_to_send_its_clients_away():
    settings = Settings.from_env({"SECRET_KEY": "s" * 32})
    # gunicorn waits 5 s longer than the window, and then ends its workers.
    assert int(option("TimeoutStopSec", WEB)) > settings.drain_window + 5


@pytest.mark.slow
@pytest.mark.e2e
def test_gunicorn_tells_systemd_when_it_listens(tmp_path: Path):
    assert option("Type", WEB) == "notify"
    place = tmp_path / "notify"
    system = System(webs=1)
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as notify:
        notify.bind(str(place))
        notify.settimeout(60)
        system.server.start()
        system._make_tables()
        try:
            gateway = system.start_web(0, NOTIFY_SOCKET=str(place))
            assert notify.recv(1000).splitlines()[0] == b"READY=1"
            assert gateway.is_running
            with closing(socket.create_connection(("127.0.0.1", system.web_ports[0]))):
                pass
        finally:
            system.close()


def test_the_web_unit_listens_for_the_proxy_only():
    variables = dict(
        pair.split("=", 1)
        for line in re.findall(
            r"^Environment=(.*)$", (FOLDER / WEB).read_text(), re.MULTILINE
        )
        for pair in shlex.split(line)
    )
    assert variables["GUNICORN_CMD_ARGS"] == "--bind=127.0.0.1:%i"
