"""What a user might take instead of Greendot: servers that get the same load."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from bench.machine import LOCK
from bench.servers import SECRET, DidNotStart, Target

PEERS = LOCK.parent


class Peer(Target):
    """One server process and a Valkey as its message queue."""

    protocol = "socketio"
    hydrate_path = "/online-status"

    def environ(self) -> dict[str, str]:
        """What the server reads; starts the Valkey."""
        return {
            "REDIS_URL": self.start_valkey(),
            "BENCH_SECRET": SECRET,
            "BENCH_GRAPH": json.dumps(asdict(self.graph)),
            "PORT": str(self.port),
        }


class FlaskSocketIO(Peer):
    """Flask-SocketIO under gunicorn's gevent worker; all state in its memory."""

    name = "flask-socketio"
    state = "memory"

    def start(self) -> None:
        """Start it, and return when it serves."""
        gunicorn = str(Path(sys.executable).parent / "gunicorn")
        self.run(
            "web",
            [
                *(gunicorn, "--worker-class", "gevent", "--workers", "1"),
                *("--bind", f"127.0.0.1:{self.port}", "--backlog", "4096"),
                *("--worker-connections", "16000", "--keep-alive", "5"),
                "bench.peers.flask_socketio_app:app",
            ],
            {
                "BENCH_STATE": self.state,
                "BENCH_DATABASE": str(self.folder / "friends.db"),
                **self.environ(),
            },
        )
        self.wait_http("/healthz")


class FlaskSocketIOShared(FlaskSocketIO):
    """The same with its state in SQLite and Redis, as Greendot's is."""

    name = "flask-socketio-shared"
    state = "shared"


class SocketIO(Peer):
    """socket.io on Node."""

    name = "socketio"

    def start(self) -> None:
        """Start it, and return when it serves; installs its packages if it has to."""
        node, npm = shutil.which("node"), shutil.which("npm")
        if node is None or npm is None:
            message = "the socket.io peer needs node and npm on PATH"
            raise DidNotStart(message)
        locked = LOCK.read_bytes()
        installed = PEERS / "node_modules" / ".installed"  # npm ci removes it first
        if not installed.exists() or installed.read_bytes() != locked:
            install = [npm, "ci", "--no-audit", "--no-fund"]
            subprocess.run(install, cwd=PEERS, check=True)  # noqa: S603 - what is locked
            installed.write_bytes(locked)
        self.run("web", [node, "socketio_server.js"], self.environ(), cwd=PEERS)
        self.wait_http("/healthz")
