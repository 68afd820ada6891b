"""docs/WEBHOOKS.md: its receivers work as they are shown."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from config import PROJECT_ROOT, Settings
from models.events import UserStatus
from models.webhooks import Batch, Truth, headers
from tasks.webhook_request import DeliveryFailed, post
from tests.browser.needed import node_modules
from tests.docs.pages import Page
from tests.servers import free_port
from tests.system import wait_until

PAGE = Page("docs/WEBHOOKS.md")
SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"o" * 32).decode()
pytestmark = pytest.mark.integration


def batch(*versions: tuple[str, bool, int]) -> Batch:
    truths = [
        Truth(UserStatus(user_id, online, number, None), number, 0, number)
        for user_id, online, number in versions
    ]
    return Batch.of(truths, {}, {user_id: 0 for user_id, *_ in versions})


def shape(value: object) -> object:
    """The names and types in a JSON value."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value]
    return type(value)


def test_the_trial_allows_a_receiver_on_this_computer():
    shown = PAGE.block("trial").text
    script = shown.replace("make run", "env -0")
    said = subprocess.run(
        ["bash", "-euc", script], capture_output=True, check=True, text=True
    ).stdout
    given = dict(line.split("=", 1) for line in said.split("\0") if line)
    settings = Settings.from_env({**given, "SECRET_KEY": "s" * 32})
    assert settings.webhook_urls == ("http://localhost:9000/",)
    assert settings.webhook_secrets == (given["WEBHOOK_SECRET"],)
    assert settings.webhook_allow_private


def test_the_body_is_as_shown():
    made = batch(("ann", True, 1767225600000), ("bob", False, 1767225599990))
    shown = json.loads(PAGE.block("webhook").text)
    assert shape(json.loads(made.body)) == shape(shown)
    assert json.loads(made.body)["data"] == shown["data"]


@pytest.mark.parametrize("language", ["python", "js"])
def test_a_receiver_keeps_the_newest_state_and_refuses_a_forgery(tmp_path, language):
    (block,) = (one for one in PAGE.blocks("receiver") if one.language == language)
    file = tmp_path / ("receiver.py" if language == "python" else "receiver.mjs")
    file.write_text(block.text, encoding="utf-8")
    program = sys.executable
    if language == "js":
        modules = node_modules(PROJECT_ROOT / "tests" / "webhooks")
        Path(tmp_path, "node_modules").symlink_to(modules)
        program = "node"
    port = free_port()
    process = subprocess.Popen(
        [program, file],
        env={**os.environ, "PORT": str(port), "WEBHOOK_SECRET": SECRET},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )

    def send(made: Batch, *secrets: str) -> int:
        sent = headers(made, secrets, time.time())
        url = f"http://127.0.0.1:{port}/"
        try:
            return post(url, made.body, sent, allow_private=True)
        except DeliveryFailed:
            return 0

    first = batch(("ann", True, 5), ("bob", True, 5))
    try:
        wait_until(lambda: send(first, OTHER_SECRET, SECRET) == 204, 30)
        assert send(batch(("ann", False, 9)), OTHER_SECRET) == 401
        assert send(batch(("ann", False, 7)), SECRET) == 204
        assert send(first, SECRET) == 204  # late, and for the second time
        assert send(batch(("bob", False, 8), ("cid", True, 1)), SECRET) == 204
    finally:
        process.terminate()
        said, _ = process.communicate(timeout=30)
    assert said.splitlines() == [
        "ann online",
        "bob online",
        "ann offline",
        "bob offline",
        "cid online",
    ]
