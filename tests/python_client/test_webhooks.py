"""Webhooks in the Python client: the package `standardwebhooks` signs them."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from greendot_client import Detail, InvalidWebhook, PresenceEvent, verify_webhook
from tests.docs.pages import Page

OLD, NEW = "whsec_" + "A" * 32, "whsec_" + "B" * 32
NOW = 1_767_225_600
BODY = Page("docs/WEBHOOKS.md").block("webhook").text.encode()


def headers_of(secret: str, body: bytes = BODY, message_id: str = "msg_1") -> dict:
    at = datetime.fromtimestamp(NOW, UTC)
    return {
        "Webhook-Id": message_id,
        "Webhook-Timestamp": str(NOW),
        "Webhook-Signature": Webhook(secret).sign(message_id, at, body.decode()),
        "Content-Type": "application/json",
    }


@pytest.mark.parametrize("secrets", [OLD, [OLD], [NEW, OLD], (OLD, NEW)])
def test_the_events_of_a_signed_webhook(secrets):
    assert verify_webhook(secrets, headers_of(OLD), BODY, now=NOW) == [
        PresenceEvent(
            "user.online",
            "ann",
            "online",
            1767225600000,
            Detail("active", None, None, None, 1767225600000),
        ),
        PresenceEvent("user.offline", "bob", "offline", 1767225599990),
    ]


def test_one_of_several_signatures_is_enough():
    headers = headers_of(OLD)
    headers["Webhook-Signature"] = f"v1,bm8= v2,x {headers['Webhook-Signature']}"
    assert verify_webhook(OLD, headers, BODY, now=NOW)


@pytest.mark.parametrize(
    ("changes", "body", "now"),
    [
        ({}, BODY, NOW + 301),
        ({}, BODY, NOW - 301),
        ({}, BODY + b" ", NOW),
        ({"Webhook-Id": "msg_2"}, BODY, NOW),
        ({"Webhook-Timestamp": str(NOW + 1)}, BODY, NOW),
        ({"Webhook-Timestamp": "soon"}, BODY, NOW),
        ({"Webhook-Signature": ""}, BODY, NOW),
        ({"Webhook-Signature": "v1,\u00e9"}, BODY, NOW),
    ],
)
def test_what_greendot_has_not_signed_like_this_is_refused(changes, body, now):
    with pytest.raises(InvalidWebhook):
        verify_webhook(OLD, headers_of(OLD) | changes, body, now=now)


@pytest.mark.parametrize(
    "name", ["Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"]
)
def test_without_a_header_it_is_refused(name):
    headers = headers_of(OLD)
    del headers[name]
    with pytest.raises(InvalidWebhook):
        verify_webhook(OLD, headers, BODY, now=NOW)


def test_another_secret_signs_nothing_here():
    with pytest.raises(InvalidWebhook):
        verify_webhook(NEW, headers_of(OLD), BODY, now=NOW)
    with pytest.raises(InvalidWebhook):
        verify_webhook([], headers_of(OLD), BODY, now=NOW)


@pytest.mark.parametrize("secret", ["A" * 32, "whsec_%", ""])
def test_a_secret_of_another_form_is_an_error(secret):
    with pytest.raises(ValueError, match="has the form whsec_"):
        verify_webhook(secret, headers_of(OLD), BODY, now=NOW)


def test_later_versions_may_say_more():
    content = json.loads(BODY)
    content["data"]["events"][0]["reason"] = "new"
    content["more"] = 1
    body = json.dumps(content).encode()
    assert len(verify_webhook(OLD, headers_of(OLD, body), body, now=NOW)) == 2
    other = json.dumps({"type": "other.event"}).encode()
    assert verify_webhook(OLD, headers_of(OLD, other), other, now=NOW) == []
    broken = b'{"type": "presence.changed"}'
    with pytest.raises(InvalidWebhook, match="format"):
        verify_webhook(OLD, headers_of(OLD, broken), broken, now=NOW)
