"""The client without a page: where a server renders, and where something is wrong. What
no try can mend is told, and not tried again."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from config import PROJECT_ROOT
from tests.needs import missing

INDEX = PROJECT_ROOT / "app" / "static" / "greendot" / "index.js"
SCRIPT = """
globalThis.WebSocket = class { close() {} };
globalThis.asked = 0;
globalThis.fetch = async () => { asked += 1; throw new TypeError('no network'); };
const said = [];
console.error = (...words) => said.push(words.join(' '));
process.on('unhandledRejection', (error) => said.push(`unhandled: ${error}`));
const { createPresenceClient } = await import(process.argv[1]);
const errors = [];
const closes = [];
const onError = ({ message }) => errors.push(message);
const onClose = (code, retryIn) => closes.push(retryIn);
const denied = [];
const onDenied = (code) => denied.push(code);
const random = () => 0;
const options = { url: 'https://presence.invalid', random, onClose, onDenied, %s };
const client = createPresenceClient(options);
let thrown = null;
try {
    client.connect();
} catch (error) {
    thrown = error.message;
}
do {
    await new Promise((resolve) => setTimeout(resolve, 100));
} while (options.isDone?.() === false);
const { connection, stale } = client.store.getState();
client.close();
const seen = { connection, stale, thrown, errors, closes, denied, said, asked };
console.log(JSON.stringify(seen));
process.exit();
"""


def run(options: str) -> dict:
    """What became of a client that was made with `options` and connected in Node."""
    node = shutil.which("node")
    if node is None:
        missing("node", "BROWSER")
    done = subprocess.run(
        [node, "--input-type=module", "-e", SCRIPT % options, str(INDEX)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("'/presence'", ["url", "page"]),
        ("undefined", ["url", "page"]),
        ("'http://['", ["url", "http://["]),
        ("'localhost:8000'", ["url", "localhost:8000", "https"]),
        ("'ftp://presence.invalid'", ["url", "ftp", "https"]),
    ],
)
def test_a_url_that_is_none_is_told_at_connect(url, words):
    seen = run(f"url: {url}")
    assert (seen["connection"], seen["stale"]) == ("offline", True)
    assert all(word in seen["thrown"] for word in words)
    told = run(f"url: {url}, onError")
    assert told["thrown"] is None
    assert told["errors"] == [seen["thrown"]]
    assert len(told["said"]) == 1


@pytest.mark.parametrize("missing_one", ["WebSocket", "fetch"])
def test_a_missing_feature_is_told_at_connect(missing_one):
    delete = f"gone: delete globalThis.{missing_one}"
    assert missing_one in run(delete)["thrown"]
    told = run(f"{delete}, onError")
    assert told["thrown"] is None
    assert missing_one in told["errors"][0]
    assert told["connection"] == "offline"


def test_a_whole_url_needs_no_page():
    seen = run("token: 'secret'")
    assert (seen["thrown"], seen["connection"]) == (None, "reconnecting")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("token: () => { throw new Error('no session') }", "no session"),
        ("token: () => 7", "string"),
        ("token: async () => ({})", "string"),
        ("token: async () => nowhere", "nowhere"),
        ("ticket: () => nowhere, hydrate: false", "nowhere"),
        ("token: 'ill \\u2028'", "ByteString"),
        ("token: 'x', fetch: () => nowhere", "nowhere"),
        ("ticket: 'x', WebSocket: class { constructor() { nowhere } }", "nowhere"),
        ("WebSocket: class { constructor() { throw new DOMException('no') } }", "no"),
    ],
)
def test_a_bug_is_told_and_not_tried_again(options, words):
    seen = run(f"{options}, onError")
    (error,) = seen["errors"]
    assert words in error
    assert (seen["thrown"], seen["connection"]) == (None, "offline")
    assert seen["closes"] == [None]
    (said,) = seen["said"]
    assert words in said


def test_a_failing_source_of_tokens_is_told_once_and_tried_again():
    seen = run("token: async () => { throw new TypeError('fetch failed') }, onError")
    (error,) = seen["errors"]
    assert "fetch failed" in error
    assert seen["connection"] == "reconnecting"
    assert seen["closes"] == [1_000]


def test_the_waits_double_while_the_source_of_tokens_fails():
    """The random part comes on top. A token ends the row."""
    fails = "Promise.reject(new Error('500'))"
    retry = "closes.push(retryIn); setTimeout(() => client.retryNow())"
    seen = run(
        f"token: () => closes.length < 7 ? {fails} : 'secret', onError, hydrate: false,"
        f"onClose: (code, retryIn) => {{ {retry} }}, isDone: () => closes.length > 8"
    )
    assert seen["closes"][:7] == [1_000, 2_000, 4_000, 4_000, 4_000, 4_000, 4_000]
    assert set(seen["closes"][7:]) == {0}
    assert len(seen["errors"]) == 1


@pytest.mark.parametrize("nothing", ["null", "undefined", "''"])
@pytest.mark.parametrize(
    "source", ["token: async () =>", "token: () =>", "ticket: () =>"]
)
def test_a_source_that_gives_no_token_means_signed_out(source, nothing):
    seen = run(f"{source} {nothing}, onError")
    assert (seen["denied"], seen["closes"]) == ([4401], [None])
    assert (seen["connection"], seen["stale"]) == ("offline", True)
    assert (seen["errors"], seen["said"], seen["asked"]) == ([], [], 0)


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ("ticket: 'x'", 0),
        ("ticket: 'x', hydrate: true", 2),
        ("ticket: 'x', token: 'y'", 2),
        ("ticket: 'x', token: 'y', hydrate: false", 0),
        ("hydrate: false", 0),
        ("", 2),  # perhaps there is a cookie
    ],
)
def test_rest_is_asked_only_where_it_may_answer(options, asked):
    assert run(options)["asked"] == asked


def test_a_lost_network_is_no_error():
    seen = run("token: 'secret', onError")
    assert (seen["errors"], seen["said"]) == ([], [])
    assert seen["connection"] == "reconnecting"
    assert seen["asked"] > 1


def test_a_server_that_is_not_greendot_is_told():
    page = "new Response('<html>', { status: 200 })"
    fetch = f"fetch: async () => {page}"
    seen = run(f"token: 'secret', onError, hydrate: false, {fetch}")
    assert seen["closes"] == [1_000]


def test_a_bug_in_a_callback_holds_nothing_up():
    broken = "() => { throw new Error('mine') }"
    on_error = "(error) => { errors.push(error.message); nowhere }"
    seen = run(f"token: 'secret', onError: {on_error}, onClose: {broken}")
    assert seen["errors"][0] == "mine"
    assert seen["connection"] == "reconnecting"


def test_a_bug_in_a_listener_keeps_it_from_nobody():
    seen = run(
        "onError, gone: setTimeout(() => {"
        " client.store.subscribe(() => { throw new Error('mine') });"
        " client.store.subscribe(() => closes.push('heard'));"
        " client.store.setState({ stale: false }); })"
    )
    assert set(seen["errors"]) == {"mine"}
    assert len(seen["said"]) == 1
    assert "heard" in seen["closes"]


@pytest.mark.parametrize(
    ("page", "url", "is_mixed"),
    [
        ("https://chat.example.com", "http://presence.invalid", True),
        ("https://chat.example.com", "http://localhost.invalid", True),
        ("https://chat.example.com", "https://presence.invalid", False),
        ("https://chat.example.com", "http://localhost:8000", False),
        ("https://chat.example.com", "http://127.0.0.1:8000", False),
        ("http://chat.example.com", "http://presence.invalid", False),
    ],
)
def test_mixed_content_is_told(page, url, is_mixed):
    where = f"globalThis.location = new URL('{page}')"
    seen = run(f"token: 'secret', url: '{url}', onError, gone: {where}")
    assert ["mixed content" in error for error in seen["errors"]] == [True] * is_mixed
    assert (seen["connection"] == "offline") is is_mixed
