"""The proxies of deploy/ as plain processes, with a certificate of their own.

The files are those of deploy/. Only ports, addresses and paths are replaced in a copy.
"""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path

from config import PROJECT_ROOT
from tests.needs import missing
from tests.servers import free_port

DEPLOY = PROJECT_ROOT / "deploy"
FILES = {"nginx": "nginx.conf", "caddy": "Caddyfile", "haproxy": "haproxy.cfg"}


def program(name: str, group: str = "PROXIES") -> str:
    """The path of a program, or the test is skipped."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    return shutil.which(name, path=places) or missing(name, group)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, and its key."""
    chain, key = folder / "fullchain.pem", folder / "privkey.pem"
    if not chain.exists():
        command = (
            f"{program('openssl')} req -x509 -newkey ec -nodes -days 2 -subj "
            "/CN=localhost -pkeyopt ec_paramgen_curve:prime256v1 -addext "
            f"subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout {key} -out {chain}"
        )
        subprocess.run(command.split(), check=True, capture_output=True)
    return chain, key


class Proxy:
    """One of the proxies in front of the gateways on `ports`."""

    def __init__(self, name: str, folder: Path, ports: Sequence[int]) -> None:
        """Skips the test where the program is absent."""
        self.name = name
        self._program = program(name)
        self._folder = folder / name
        self._folder.mkdir()
        self._certificate = certificate(folder)
        self._process: subprocess.Popen[bytes] | None = None
        self.port, self.http_port, self.inside_port = (free_port() for _ in range(3))
        text = (DEPLOY / FILES[name]).read_text()
        for number, port in zip((8000, 8001), ports, strict=True):
            text = _replaced(text, f"127.0.0.1:{number}", f"127.0.0.1:{port}")
        text = {"nginx": self._nginx, "caddy": self._caddy, "haproxy": self._haproxy}[
            name
        ](text)
        self.config = self._folder / FILES[name]
        self.config.write_text(text)

    def _nginx(self, text: str) -> str:
        chain, key = self._certificate
        for old, new in {
            "listen 80;": f"listen 127.0.0.1:{self.http_port};",
            "listen 443 ssl;": f"listen 127.0.0.1:{self.port} ssl;",
            "listen 127.0.0.1:8080;": f"listen 127.0.0.1:{self.inside_port};",
            "listen [::]:80;": "",
            "listen [::]:443 ssl;": "",
            "/etc/ssl/greendot/fullchain.pem": str(chain),
            "/etc/ssl/greendot/privkey.pem": str(key),
            "/var/log/nginx": str(self._folder),
            "/run/nginx.pid": str(self._folder / "pid"),
            "worker_rlimit_nofile 100000;": "",
            "worker_connections 50000;": "worker_connections 500;",
        }.items():
            text = _replaced(text, old, new)
        return text

    def _caddy(self, text: str) -> str:
        chain, key = self._certificate
        ports = f"http_port {self.http_port}\n\thttps_port {self.port}"
        for old, new in {
            "admin localhost:2019": f"admin off\n\t{ports}\n\tauto_https off",
            "\npresence.example.com {": "\nhttps://localhost {\n"
            f"\tbind 127.0.0.1\n\ttls {chain} {key}",
            "http://:8080": f"http://:{self.inside_port}",
        }.items():
            text = _replaced(text, old, new)
        return text

    def _haproxy(self, text: str) -> str:
        chain, key = self._certificate
        both = self._folder / "greendot.pem"
        both.write_text(chain.read_text() + key.read_text())
        for old, new in {
            "bind :80\n": f"bind 127.0.0.1:{self.http_port}\n",
            "bind :443 ": f"bind 127.0.0.1:{self.port} ",
            "bind 127.0.0.1:8080": f"bind 127.0.0.1:{self.inside_port}",
            "/etc/ssl/greendot/greendot.pem": str(both),
            "log /dev/log local0": "log stdout format raw local0",
            "    user haproxy\n    group haproxy\n": "",
            "maxconn 50000": "maxconn 500",
        }.items():
            text = _replaced(text, old, new)
        return text

    def check(self) -> subprocess.CompletedProcess[str]:
        """What the program says about the copy of the file."""
        arguments = {
            "nginx": ("-t", "-q", "-c"),
            "caddy": ("validate", "--adapter", "caddyfile", "--config"),
            "haproxy": ("-c", "-q", "-f"),
        }[self.name]
        return self._run(*arguments, str(self.config))

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._program, *arguments],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self._environ,
        )

    @property
    def _environ(self) -> dict[str, str]:
        return {**os.environ, "HOME": str(self._folder)}

    def start(self) -> None:
        """Start it in the foreground."""
        arguments = {
            "nginx": ("-g", "daemon off;", "-c"),
            "caddy": ("run", "--adapter", "caddyfile", "--config"),
            "haproxy": ("-db", "-f"),
        }[self.name]
        with (self._folder / "output.log").open("ab") as out:
            self._process = subprocess.Popen(
                [self._program, *arguments, str(self.config)],
                stdout=out,
                stderr=out,
                env=self._environ,
            )

    def stop(self) -> None:
        """Stop it, with its children."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(20)

    def tls(self) -> ssl.SSLContext:
        """What a client needs to trust the certificate."""
        return ssl.create_default_context(cafile=self._certificate[0])

    def log(self) -> str:
        """What it has written, for a failed test."""
        return "\n".join(
            path.read_text(errors="replace") for path in self._folder.glob("*.log")
        )


def _replaced(text: str, old: str, new: str) -> str:
    assert old in text, f"{old!r} is no longer in the file"
    return text.replace(old, new)
