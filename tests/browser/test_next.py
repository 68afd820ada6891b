"""The React bindings in Next.js (app router), whose layout is rendered by a server."""

from __future__ import annotations

import os
import subprocess

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import second_origin
from tests.browser.needed import HERE, install_client
from tests.clients import Client

pytestmark = pytest.mark.timeout(300)

APP = HERE / "next"
QUIET = {"NEXT_TELEMETRY_DISABLED": "1"}


@pytest.fixture(scope="module")
def application(site, tmp_path_factory):
    """tests/browser/next, built with the client as `npm pack` makes it, and served."""
    modules = install_client(APP, tmp_path_factory.mktemp("pack"))
    environ = {**os.environ, **QUIET, "NEXT_PUBLIC_GREENDOT_URL": site.url()}
    command = [modules / ".bin" / "next"]
    built = subprocess.run(
        [*command, "build"],
        cwd=APP,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    origin = second_origin(site)
    served = subprocess.Popen(
        [*command, "start", "--hostname", "127.0.0.1", "--port", origin.split(":")[2]],
        cwd=APP,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for line in served.stdout:
        if "Ready" in line:
            break
    yield origin
    served.terminate()
    served.wait()
    served.stdout.close()


@pytest.mark.slow
def test_a_layout_of_the_server_may_hold_the_provider(application, site, open_tab):
    tab = open_tab()
    cookie = {"name": "presence_token", "value": site.token("ada"), "url": site.url()}
    tab.context.add_cookies([cookie])
    with Client(site, "grace").opened():
        tab.page.goto(application)
        expect(tab.page.locator("p")).to_have_text("Grace Online", timeout=10_000)
    expect(tab.page.locator("p")).to_have_text("Grace Offline")
