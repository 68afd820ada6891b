"""deploy/Dockerfile: checked by hadolint, and its steps run in a clean folder."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import ExitStack, closing
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from app.dev.processes import read_procfile
from config import PROJECT_ROOT
from tests.servers import RedisServer, any_server_command, free_port
from tests.system import JWT_SECRET, SERVICE_KEY, wait_until

DOCKERFILE = PROJECT_ROOT / "deploy" / "Dockerfile"
COMPOSE = PROJECT_ROOT / "deploy" / "compose.yaml"


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, each with its arguments, in order."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split()[0], line.split(None, 1)[1]) for line in lines if line.strip()]


def copied() -> list[str]:
    """The patterns of what is copied from the project."""
    found = []
    for name, arguments in instructions():
        if name == "COPY" and not arguments.startswith("--from"):
            found += arguments.split()[:-1]
    return found


def test_hadolint_accepts_the_file():
    hadolint = Path(sys.executable).parent / "hadolint"
    said = subprocess.run(
        [hadolint, DOCKERFILE], check=False, capture_output=True, text=True
    )
    assert (said.returncode, said.stdout) == (0, ""), said


def test_the_build_gets_what_it_copies_and_no_more():
    patterns = (PROJECT_ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in patterns
    allowed = {pattern[1:] for pattern in patterns if pattern.startswith("!")}
    assert allowed == set(copied())


def test_the_commands_are_those_of_the_procfile():
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    (command,) = (arguments for name, arguments in instructions() if name == "CMD")
    commands = {name: services[name]["command"] for name in ("worker", "beat")}
    commands |= {"release": services["release"]["command"], "web": json.loads(command)}
    procfile = read_procfile(PROJECT_ROOT / "Procfile")
    assert commands == {name: shlex.split(line) for name, line in procfile.items()}


class Image:
    """The steps of the Dockerfile, run in a folder that stands for `/`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.environ = {"PATH": os.defpath, "HOME": str(root)}
        # How this machine reaches the registry of packages.
        self._registry = {k: v for k, v in os.environ.items() if k.startswith("PIP_")}
        self.folder = root
        for folder in ("tmp", "opt", "app"):
            (root / folder).mkdir()

    def build(self) -> None:
        """Run the instructions that make files or set variables."""
        for name, arguments in instructions():
            if name == "COPY" and not arguments.startswith("--from"):
                self._copy(arguments.split())
            elif name == "WORKDIR":
                self.folder = self._root / arguments.lstrip("/")
            elif name == "ENV":
                for pair in shlex.split(self._moved(arguments)):
                    key, value = pair.split("=", 1)
                    old_path = self.environ["PATH"]
                    self.environ[key] = value.replace("$PATH", old_path)
            elif name == "RUN" and not arguments.startswith("useradd"):
                subprocess.run(
                    ["sh", "-ec", self._moved(arguments)],
                    cwd=self.folder,
                    env=self.environ | self._registry,
                    check=True,
                )

    def _moved(self, text: str) -> str:
        for folder in ("opt", "tmp"):
            text = re.sub(rf"(?<![\w.])/{folder}/", f"{self._root}/{folder}/", text)
        return text

    def _copy(self, arguments: list[str]) -> None:
        *patterns, target = arguments
        place = self.folder / self._moved(target)
        for pattern in patterns:
            for path in PROJECT_ROOT.glob(pattern):
                if path.is_dir():
                    ignored = shutil.ignore_patterns("__pycache__")
                    shutil.copytree(path, place, ignore=ignored)
                else:
                    assert fnmatch(path.name, pattern)
                    shutil.copy(path, place)

    def run(self, command: list[str], **environ: str) -> subprocess.Popen[bytes]:
        """Start a command as the image does."""
        return subprocess.Popen(
            [shutil.which(command[0], path=self.environ["PATH"]), *command[1:]],
            cwd=self.folder,
            env={**self.environ, **environ},
            start_new_session=True,
        )


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_the_steps_make_a_greendot_that_runs(tmp_path):
    image = Image(tmp_path)
    image.build()
    port = str(free_port())
    commands = {
        name: shlex.split(line)
        for name, line in read_procfile(PROJECT_ROOT / "Procfile").items()
    }
    (check,) = (text for name, text in instructions() if name == "HEALTHCHECK")
    check_command = json.loads(check[check.index("CMD [") + 4 :])
    with ExitStack() as stack:
        server = stack.enter_context(closing(RedisServer(any_server_command())))
        server.start()
        environ = {
            "DATABASE_URL": f"sqlite:///{tmp_path / 'greendot.db'}",
            "REDIS_URL": server.url,
            "PRESENCE_JWT_SECRET": JWT_SECRET,
            "PRESENCE_SERVICE_KEY": SERVICE_KEY,
            "GUNICORN_CMD_ARGS": f"--bind=127.0.0.1:{port}",
            "PORT": port,
        }
        assert image.run(commands.pop("release"), **environ).wait() == 0
        assert image.run(check_command, **environ).wait() != 0
        running = []
        for command in commands.values():
            process = image.run(command, **environ)
            stack.callback(_kill, process)
            running.append(process)
        wait_until(lambda: _is_ready(port), 60)
        assert image.run(check_command, **environ).wait() == 0
        with closing(server.client()) as client:
            # The worker has swept, because beat told it.
            wait_until(lambda: "greendot_last_sweep_age_seconds" in _metrics(port), 60)
            assert client.scard("_kombu.binding.greendot") > 0
        for process in running:
            process.send_signal(signal.SIGTERM)
        assert [process.wait(40) for process in running] == [0, 0, 0]


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _is_ready(port: str) -> bool:
    try:
        _get(port, "/readyz")
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    return True


def _metrics(port: str) -> str:
    return _get(port, "/metrics")


def _get(port: str, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        text: str = answer.read().decode()
        return text
