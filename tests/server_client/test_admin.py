"""`greendot-client/server` in JavaScript, against the real server."""

from __future__ import annotations

import itertools
import json
import subprocess
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from config import PROJECT_ROOT
from tests.browser.needed import HERE, node_modules
from tests.clients import Client
from tests.docs.pages import Page
from tests.docs.test_readme import node
from tests.system import SERVICE_KEY

SERVER = PROJECT_ROOT / "app" / "static" / "greendot" / "server.js"
START = f"""
import {{ AdminError, InvalidWebhook, createAdmin, verifyWebhook }} from "{SERVER.as_uri()}";
const [url, key, ...values] = JSON.parse(process.env.ARGUMENTS);
const said = [];
const failure = async (promise) => promise.then(() => null, (error) => ({{
    name: error.name, status: error.status, code: error.code, message: error.message,
}}));
"""
END = "\nconsole.log(JSON.stringify(said));"
RUNTIMES = [
    "node",
    pytest.param("bun", marks=pytest.mark.slow),
    pytest.param("deno", marks=pytest.mark.slow),
]
CALLS = """
const [ann, bob, cleo] = values;
const admin = createAdmin({ url: `${url}/`, key });
const collected = async (items) => { const all = []; for await (const one of items) all.push(one); return all; };
const { token, ticket, ...times } = await admin.signIn(ann, { display_name: "Ann", friends: [bob] });
said.push(times, typeof token, typeof ticket);
said.push(await admin.replaceFriends(ann, [bob, cleo]), await admin.friends(bob));
await admin.deleteFriendship(ann, cleo);
said.push(await admin.putFriendship(ann, bob, "blocked"));
said.push(await admin.putUser(bob, "Bob"), await admin.user(bob));
said.push(await admin.putConversation(ann, "Lunch", [ann, bob]));
await admin.addParticipant(ann, cleo);
await admin.removeParticipant(ann, bob);
said.push((await admin.conversation(ann)).participants);
said.push((await collected(admin.conversations())).some(({ id }) => id === ann));
said.push((await collected(admin.users())).filter(({ id }) => values.includes(id)));
said.push(Object.keys(await admin.usersPage(null, 1)));
said.push(await admin.onlineStatus([ann, bob]), (await admin.userStatuses([ann]))[ann].devices);
said.push(await admin.reachability([bob]));
said.push((await collected(admin.onlineUsers())).includes(ann));
said.push((await admin.stats()).gateways, (await admin.explain(ann, cleo)).viewer.status);
said.push((await admin.changeSettings(ann, { availability: "dnd" })).availability);
said.push((await admin.settings(ann)).availability, await admin.webhooks());
await admin.bulk({ users: [{ id: cleo, display_name: "Cleo" }], delete: { conversations: [ann] } });
said.push(await failure(admin.conversation(ann)));
await admin.disconnect(ann);
await admin.revoke(ann);
await admin.deleteUser(cleo);
said.push(await failure(admin.user("a b")), await failure(admin.enableWebhook("http://h/x")));
said.push((await failure(createAdmin({ url, key: "wrong" }).stats())).status);
said.push((await failure(createAdmin({ url: "http://127.0.0.1:9", key }).stats())).name);
"""
numbers = itertools.count()


def run(runtime: str, script: str, *arguments: object, tmp_path) -> list:
    """What the script has pushed to `said`."""
    file = tmp_path / "script.mjs"
    file.write_text(START + script + END)
    if runtime == "node":
        command = [*node(), file]
    else:
        binary = node_modules(HERE / "runtimes") / ".bin" / runtime
        command = [binary, "run", *(["-A"] if runtime == "deno" else []), file]
    done = subprocess.run(
        command,
        env={"ARGUMENTS": json.dumps(arguments), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.e2e
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_all_calls_of_a_host(system, runtime, tmp_path):
    number = next(numbers)
    ann, bob, cleo = names = [f"js|{number}:{one}" for one in ("ann", "bob", "cleo")]
    with Client(system, ann).opened() as socket:
        said = run(runtime, CALLS, system.url(), SERVICE_KEY, *names, tmp_path=tmp_path)
        assert socket.expect_close() == 4403
    not_found = {"name": "AdminError", "status": 404, "code": "not_found"}
    assert said.pop() in {"TypeError", "ConnectionRefused", "Error"}
    assert said.pop() == 401
    assert said.pop().items() >= not_found.items()
    assert said.pop()["code"] == "invalid_id"
    assert said.pop().items() >= not_found.items()
    assert said == [
        {"expires_in": 30, "token_expires_in": 3600},
        "string",
        "string",
        [bob, cleo],
        [ann],
        {"user_a": ann, "user_b": bob, "status": "blocked"},
        {"id": bob, "display_name": "Bob"},
        {"id": bob, "display_name": "Bob"},
        {"id": ann, "title": "Lunch", "participants": [ann, bob]},
        [ann, cleo],
        True,
        [
            {"id": ann, "display_name": "Ann"},
            {"id": bob, "display_name": "Bob"},
            {"id": cleo, "display_name": cleo},
        ],
        ["users", "next_cursor"],
        {ann: True, bob: False},
        1,
        {
            bob: {
                "online": False,
                "idle_for": None,
                "availability": None,
                "suggest": "push",
            }
        },
        True,
        2,
        "online",
        "dnd",
        "dnd",
        [],
    ]


NOW = 1_767_225_600
OLD, NEW = "whsec_" + "A" * 32, "whsec_" + "B" * 32
BODY = Page("docs/WEBHOOKS.md").block("webhook").text
WEBHOOKS = """
const [body, headers, now, old, fresh] = values;
const bytes = new TextEncoder().encode(body);
said.push(await verifyWebhook(old, headers, body, now));
said.push((await verifyWebhook([fresh, old], new Headers(headers), bytes, now)).length);
const refused = async (...given) => said.push((await failure(verifyWebhook(...given))).name);
await refused(fresh, headers, body, now);
await refused([], headers, body, now);
await refused(old, headers, `${body} `, now);
await refused(old, headers, body, now + 301);
await refused(old, headers, body, now - 301);
await refused(old, { ...headers, "Webhook-Signature": "v1,AAAA v2,x" }, body, now);
await refused(old, { ...headers, "Webhook-Id": "other" }, body, now);
await refused(old, { ...headers, "Webhook-Timestamp": "soon" }, body, now);
await refused(old, { "webhook-id": "1" }, body, now);
await refused("whsec_A", headers, body, now);
await refused("hello", headers, body, now);
"""


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_webhooks_are_verified(runtime, tmp_path):
    at = datetime.fromtimestamp(NOW, UTC)
    headers = {
        "Webhook-Id": "msg_1",
        "Webhook-Timestamp": str(NOW),
        "Webhook-Signature": "v1,bm8= " + Webhook(OLD).sign("msg_1", at, BODY),
    }
    values = ("", "", BODY, headers, NOW, OLD, NEW)
    events, count, *errors = run(runtime, WEBHOOKS, *values, tmp_path=tmp_path)
    assert events == json.loads(BODY)["data"]["events"]
    assert count == 2
    assert errors == ["InvalidWebhook"] * 9 + ["TypeError"] * 2


def test_both_languages_have_the_same_calls():
    """The JavaScript names are the Python names in camelCase."""
    from greendot_client import Admin  # noqa: PLC0415

    script = "said.push(Object.keys(createAdmin({ url: 'http://h', key: '' })));"
    done = subprocess.run(
        [*node(), "--input-type=module", "-e", START + script + END],
        env={"ARGUMENTS": '["", ""]'},
        capture_output=True,
        text=True,
        check=True,
    )
    (found,) = json.loads(done.stdout)
    python = {name for name in dir(Admin) if not name.startswith("_")}
    camel = {
        name.split("_")[0] + "".join(part.title() for part in name.split("_")[1:])
        for name in python - {"close", "unchanged"}
    }
    assert set(found) == camel
