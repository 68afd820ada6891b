"""The applications in examples/hosts: each signs its own users in beside Greendot."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from config import PROJECT_ROOT
from tests.browser.conftest import second_origin
from tests.browser.needed import install_client
from tests.docs.test_readme import node
from tests.system import SERVICE_KEY, wait_until

HOSTS = PROJECT_ROOT / "examples" / "hosts"
MOST_LINES = 30
BIN = Path(sys.executable).parent
NEXT_ENVIRON = {**os.environ, "NEXT_TELEMETRY_DISABLED": "1"}


@pytest.fixture(
    params=[
        pytest.param("flask", marks=pytest.mark.slow),
        pytest.param("fastapi", marks=pytest.mark.slow),
        pytest.param("django", marks=pytest.mark.slow),
        pytest.param("next", marks=pytest.mark.slow),
        "express",
    ]
)
def host(request, site, tmp_path):
    """The URL of a running host, which is another origin than Greendot."""
    url = second_origin(site)
    port = str(urlsplit(url).port)
    folder = HOSTS
    if request.param == "flask":
        command = [BIN / "flask", "--app", "flask_host", "run", "--port", port]
    elif request.param == "fastapi":
        command = [BIN / "uvicorn", "fastapi_host:app", "--port", port]
    elif request.param == "django":
        command = [sys.executable, "-m", "django", "runserver", port, "--noreload"]
    elif request.param == "next":
        folder = HOSTS / "next"
        next_ = install_client(folder, tmp_path) / ".bin" / "next"
        subprocess.run([next_, "build"], cwd=folder, env=NEXT_ENVIRON, check=True)
        command = [next_, "start", "--hostname", "127.0.0.1", "--port", port]
    else:
        folder = tmp_path / "host"
        built = shutil.ignore_patterns("node_modules", ".next")
        shutil.copytree(HOSTS, folder, ignore=built)
        (tmp_path / "packed").mkdir()
        modules = install_client(HOSTS, tmp_path / "packed")
        (folder / "node_modules").symlink_to(modules)
        command = [*node(), "express-host.mjs"]
    environ = {
        **NEXT_ENVIRON,
        "DJANGO_SETTINGS_MODULE": "django_host",
        "PYTHONPATH": str(PROJECT_ROOT / "clients" / "python" / "src"),
        "GREENDOT_URL": site.url(),
        "KEY": SERVICE_KEY,
        "SECRET_KEY": "a secret of the host with 32 characters",
        "PORT": port,
    }
    with subprocess.Popen(command, cwd=folder, env=environ) as running:
        yield url
        running.terminate()


def sign_in(open_tab, host: str, name: str):
    tab = open_tab(outage=True)  # the host is not there yet, or nobody is signed in
    for _ in range(100):
        try:
            tab.page.goto(host)
        except Exception:  # noqa: BLE001 - it has not started yet
            tab.page.wait_for_timeout(200)
        else:
            break
    expect(tab.page.locator("#me")).to_have_text("Not signed in")
    tab.page.get_by_label("Your name").fill(name)
    tab.page.get_by_role("button", name="Sign in").click()
    expect(tab.page.locator("#me")).to_have_text(f"You are {name}")
    return tab


def test_two_users_of_a_host_see_each_other(site, host, open_tab):
    wait_until(lambda: not site.is_online("ann") and not site.is_online("bob"))
    ann = sign_in(open_tab, host, "ann")
    expect(ann.page.locator("#friends li")).to_have_text("⚪ bob")
    bob = sign_in(open_tab, host, "bob")
    expect(bob.page.locator("#friends li")).to_have_text("🟢 ann")
    expect(ann.page.locator("#friends li")).to_have_text("🟢 bob")
    bob.page.close()
    expect(ann.page.locator("#friends li")).to_have_text("⚪ bob")
    for tab in (ann, bob):
        tab.console[:] = [
            one for one in tab.console if "nobody is signed in" not in one
        ]


@pytest.mark.parametrize(
    ("name", "comment"),
    [
        ("flask_host.py", r'^""".*"""$'),
        ("fastapi_host.py", r'^""".*"""$'),
        ("express-host.mjs", r"^/\*\*.*\*/$"),
    ],
)
def test_a_host_needs_few_lines(name, comment):
    lines = (HOSTS / name).read_text().splitlines()
    code = [one for one in lines if one and not re.match(comment, one)]
    assert len(code) <= MOST_LINES
