"""The package: the wheel that is built from the folder works where it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from config import PROJECT_ROOT
from tests.docs.pages import Page
from tests.system import SERVICE_KEY

FOLDER = PROJECT_ROOT / "clients" / "python"
BIN = Path(sys.executable).parent
PROGRAM = """
import pathlib, sys, greendot_client
from greendot_client import Admin, Presence, verify_webhook
assert pathlib.Path(greendot_client.__file__).is_relative_to(sys.argv[3])
with Admin(sys.argv[1], sys.argv[2]) as admin:
    token = admin.sign_in("wheel", friends=["another"]).token
with Presence(sys.argv[1], token) as presence:
    print(presence.is_online("another"), presence.stale)
"""


def run(*command: object, **environ: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=FOLDER,
        env=environ or None,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.e2e
def test_a_wheel_is_built_installed_and_used(system, tmp_path):
    # uv brings the build backend along: nothing is downloaded.
    run(BIN / "uv", "build", "--offline", "--wheel", "--out-dir", tmp_path, ".")
    (wheel,) = tmp_path.glob("greendot_client-*.whl")
    folder = tmp_path / "installed"
    run(
        BIN / "uv",
        "pip",
        "install",
        "--offline",
        "--no-deps",
        "--target",
        folder,
        wheel,
    )
    assert (folder / "greendot_client" / "py.typed").exists()
    arguments = (system.url(), SERVICE_KEY, folder)
    said = run(sys.executable, "-c", PROGRAM, *arguments, PYTHONPATH=str(folder))
    assert said == "False False\n"
    # A program that uses it is checked by its types.
    (tmp_path / "use.py").write_text(
        "from greendot_client import *\nadmin = Admin('http://h', 'k')\n"
        "online: dict[str, bool] = admin.online_status(['ann'])\n"
    )
    (tmp_path / "empty.toml").touch()
    options = ("--strict", "--config-file", tmp_path / "empty.toml")
    cache = ("--cache-dir", tmp_path / "cache")
    run(BIN / "mypy", *options, *cache, tmp_path / "use.py", MYPYPATH=str(folder))


README = Page("clients/python/README.md")


@pytest.mark.e2e
def test_the_calls_in_the_readme(system):
    program = (
        "import sys\nurl, service_key = sys.argv[1:]\n" + README.block("admin").text
    )
    source = {**os.environ, "PYTHONPATH": str(FOLDER / "src")}
    said = run(sys.executable, "-c", program, system.url(), SERVICE_KEY, **source)
    first, second, *users, last = said.splitlines()
    assert (first, second) == ("{'ann': False, 'bob': False}", "push")
    assert {"ann Ann", "bob bob"} <= set(users)
    assert last == "400 bad_request"


def test_the_receiver_in_the_readme(capsys):
    names = {"secret": "whsec_" + "A" * 32}
    exec(README.block("webhook").text, names)  # noqa: S102 - our own text
    webhook = Webhook(names["secret"])
    body = Page("docs/WEBHOOKS.md").block("webhook").text
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": webhook.sign("msg_1", now, body),
    }
    assert names["receive"](headers, body.encode()) == 204
    assert capsys.readouterr().out.startswith("ann online 1767225600000\nbob offline")
    assert names["receive"](headers, b"{}") == 401
