"""Signatures as two libraries verify them, and when webhooks are tried again."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import replace

import pytest
from standardwebhooks import Webhook

from config import PROJECT_ROOT
from models.events import UserStatus
from models.webhooks import Batch, Truth, headers, receiver_name, retry_delay
from tests.browser.needed import node_modules
from tests.webhooks.receiver import SECRETS, verified

HERE = PROJECT_ROOT / "tests" / "webhooks"
NOW = 1_767_225_600_000


def truth(user_id: str = "ann", *, online: bool = True, number: int = NOW) -> Truth:
    status = UserStatus(user_id, online, number, None)
    return Truth(status, number, 0, NOW)


def batch(*truths: Truth) -> Batch:
    return Batch.of(truths, {}, {one.status.user_id: 0 for one in truths})


@pytest.mark.parametrize("keys", [SECRETS, SECRETS[:1]])
def test_the_python_library_verifies_each_signature(keys):
    made = batch(truth(), truth("bob", online=False))
    sent = headers(made, keys, time.time())
    for secret in keys:
        assert Webhook(secret).verify(made.body, sent) == json.loads(made.body)
    if keys == SECRETS:
        assert verified(sent, made.body).id == made.id


def test_the_javascript_library_verifies_each_signature():
    node_modules(HERE)
    made = batch(truth("a|b+c"), truth("bob", online=False))
    sent = headers(made, SECRETS, time.time())
    given = {"secrets": SECRETS, "headers": sent, "body": made.body.decode()}
    done = subprocess.run(
        ["node", "verify.mjs"],
        cwd=HERE,
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [json.loads(made.body)] * 2


def test_the_timestamp_of_the_body_is_in_utc_with_milliseconds():
    body = json.loads(batch(truth()).body)
    assert body["timestamp"] == "2026-01-01T00:00:00.000Z"


def test_a_batch_is_true_until_something_of_it_has_changed():
    one, two = truth(), truth("bob", online=False, number=0)
    made = batch(one, two)
    assert Batch.decode(made.id, made.encode().decode()) == made
    assert made.is_true([one, two])
    assert made.is_true([one._replace(now=NOW + 9), two])
    assert not made.is_true([one, truth("bob")])
    assert not made.is_true([truth(number=NOW + 1), two])
    assert not made.is_true([one._replace(epoch=5), two._replace(epoch=5)])
    assert not made.is_true([one])
    assert replace(made, epoch=5).is_true(
        [one._replace(epoch=5), two._replace(epoch=5)]
    )


def test_versions_after_a_loss_of_data_are_at_least_its_time():
    assert truth(number=7)._replace(epoch=50).version == 50
    assert truth(number=70)._replace(epoch=50).version == 70
    assert truth(online=False, number=0).version == NOW - 1


def test_backoff_doubles_for_three_days_and_never_ends():
    waits = []
    failing_for = 0.0
    while failing_for < 4 * 86_400:
        waits.append(retry_delay(len(waits) + 1, failing_for))
        failing_for += waits[-1]
    assert waits[:9] == [5, 10, 20, 40, 80, 160, 320, 600, 600]
    assert waits == sorted(waits)
    in_three_days = [wait for wait in waits if wait < 3600]
    assert 3 * 86_400 <= sum(in_three_days) < 3 * 86_400 + 600
    assert waits[-1] == 3600
    assert retry_delay(10**6, 10**9) == 3600


def test_the_name_of_a_receiver_has_the_port_and_no_secret():
    names = {
        "http://localhost:9000/a/secret?key=b": "http://localhost:9000",
        "http://user:password@localhost:9001/": "http://localhost:9001",
        "https://example.com/hook": "https://example.com",
        "https://[::1]:8443/hook": "https://[::1]:8443",
    }
    assert {url: receiver_name(url) for url in names} == names
