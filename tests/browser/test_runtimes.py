"""The client in Node, Bun and Deno: it works, and lets the process end."""

from __future__ import annotations

import itertools
import json
import subprocess

import pytest

from tests.browser.needed import node_modules
from tests.browser.test_react import HERE
from tests.browser.test_server_side import INDEX
from tests.clients import Client
from tests.docs.test_readme import node

pytestmark = pytest.mark.timeout(300)

SCRIPT = """
const { createPresenceClient } = await import(process.env.CLIENT);
const { friend, end, ...options } = JSON.parse(process.env.OPTIONS);
const client = createPresenceClient({ ...options, autoConnect: false });
client.store.subscribe(async (state) => {
    if (!state.isOnline(friend)) return;
    console.log("online");
    await client[end]();
    console.log(client.store.getState().stale ? "ended" : "ended, and still green");
});
client.connect();
"""
numbers = itertools.count()


@pytest.fixture(params=["node", "bun", "deno"])
def command(request, tmp_path):
    script = tmp_path / "script.mjs"
    script.write_text(SCRIPT)
    if request.param == "node":
        return [*node(), script]
    binary = node_modules(HERE / "runtimes") / ".bin" / request.param
    return [binary, "run", *(["-A"] if request.param == "deno" else []), script]


@pytest.mark.slow
@pytest.mark.parametrize("end", ["leave", "close"])
def test_the_process_ends_with_the_client(site, command, end):
    number = next(numbers)
    me, friend = f"runtime-{number}-me", f"runtime-{number}-friend"
    site.befriend(me, friend)
    options = {
        "url": site.url(),
        "token": site.token(me),
        "friend": friend,
        "end": end,
    }
    with Client(site, friend).opened():
        done = subprocess.run(
            command,
            env={
                **site.environ,
                "CLIENT": INDEX.as_uri(),
                "OPTIONS": json.dumps(options),
            },
            capture_output=True,
            text=True,
            timeout=60,  # it would run for ever
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["online", "ended"]
