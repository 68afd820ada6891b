"""The applications in examples/hosts: each signs its own users in beside Greendot."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from playwright.sync_api import expect

from config import PROJECT_ROOT
from tests.browser.conftest import second_origin
from tests.browser.needed import install_client
from tests.docs.pages import Page
from tests.docs.test_readme import node
from tests.system import SERVICE_KEY, wait_until

HOSTS = PROJECT_ROOT / "examples" / "hosts"
MOST_LINES = 30
BIN = Path(sys.executable).parent
INSTALLS = re.compile("(pip|npm) install")
"""What the tests install in their own way."""


@pytest.fixture(
    params=[
        pytest.param("flask", marks=pytest.mark.slow),
        pytest.param("fastapi", marks=pytest.mark.slow),
        pytest.param("django", marks=pytest.mark.slow),
        pytest.param("nextjs", marks=pytest.mark.slow),
        "express",
    ]
)
def host(request, site, tmp_path):
    """The URL of a running host, which is another origin than Greendot. It is started
    as its page in docs/hosts says."""
    url = second_origin(site)
    block = Page(f"docs/hosts/{request.param}.md").block("run").text
    lines = block.replace("5000", str(urlsplit(url).port)).splitlines()
    folder = PROJECT_ROOT / lines[0].removeprefix("cd ")
    if request.param == "nextjs":
        install_client(folder, tmp_path)
    elif request.param == "express":
        folder = tmp_path / "host"
        ignored = shutil.ignore_patterns("node_modules", "next")
        shutil.copytree(HOSTS, folder, ignore=ignored)
        (tmp_path / "packed").mkdir()
        modules = install_client(HOSTS, tmp_path / "packed")
        (folder / "node_modules").symlink_to(modules)
        node()  # skips the test where Node is too old
    *before, last = [line for line in lines[1:] if not INSTALLS.match(line)]
    environ = {
        **os.environ,
        "NEXT_TELEMETRY_DISABLED": "1",
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "PYTHONPATH": str(PROJECT_ROOT / "clients" / "python" / "src"),
        "GREENDOT_URL": site.url(),
        "KEY": SERVICE_KEY,
    }
    for line in before:
        subprocess.run(["bash", "-ec", line], cwd=folder, env=environ, check=True)
    command = ["bash", "-ec", f"exec env {last}"]
    with subprocess.Popen(command, cwd=folder, env=environ) as running:
        yield url
        # npx and runserver have children of their own.
        for process in [*psutil.Process(running.pid).children(recursive=True), running]:
            process.terminate()


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
    # The session at the host has ended, so the page gets no new token for the old one.
    ann.context.clear_cookies()
    site.admin("POST", "/users/ann/revoke")
    expect(ann.page.locator("#me")).to_have_text("Not signed in")


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
