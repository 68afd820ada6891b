"""The client where pages are rendered by a server: no document, no location."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from config import PROJECT_ROOT
from tests.browser.needed import missing

INDEX = PROJECT_ROOT / "app" / "static" / "greendot" / "index.js"
SCRIPT = """
const { createPresenceClient } = await import(process.argv[1]);
const client = createPresenceClient(JSON.parse(process.argv[2]));
const { connection, stale } = client.store.getState();
let thrown = null;
try {
    client.connect();
} catch (error) {
    thrown = error.message;
}
client.close();
console.log(JSON.stringify({ connection, stale, thrown }));
process.exit();
"""


def run(options: dict) -> dict:
    """What became of a client that was made and connected in Node."""
    node = shutil.which("node")
    if node is None:
        missing("node")
    done = subprocess.run(
        [node, "--input-type=module", "-e", SCRIPT, str(INDEX), json.dumps(options)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("options", [{"url": "/presence"}, {}])
def test_what_only_a_page_can_resolve_is_told_at_connect(options):
    seen = run(options)
    assert (seen["connection"], seen["stale"]) == ("offline", True)
    assert "url" in seen["thrown"]
    assert "page" in seen["thrown"]


def test_a_whole_url_needs_no_page():
    assert run({"url": "https://presence.invalid"})["thrown"] is None
