"""Checks of the webhook receivers: whether each accepts what is sent to it."""

from __future__ import annotations

from collections.abc import Iterator

from app.doctor.findings import Finding, ok, problem
from models.presence import Presence, PresenceUnavailable
from models.presence.webhooks import ReceiverState
from models.webhooks import receiver_name

SUBJECT = "webhooks"
ENABLE = "call `POST /api/admin/webhooks/enable` with its URL"


def check_webhooks(presence: Presence) -> Iterator[Finding]:
    """Each receiver of the settings. Nothing, if there is none."""
    if not presence.webhooks.urls:
        return
    try:
        for receiver in presence.webhooks.states():
            yield _finding(receiver)
    except PresenceUnavailable:
        yield problem(
            SUBJECT, "Redis is not available, so they are unknown", "See above"
        )


def _finding(receiver: ReceiverState) -> Finding:
    name = receiver_name(receiver.url)
    waiting = f"users of whom it must still hear: {receiver.pending:,}"
    if receiver.state == "disabled":
        return problem(
            SUBJECT,
            f"{name} has answered 410, so it gets nothing more; {waiting}",
            f"If it shall get webhooks again, {ENABLE}",
        )
    if receiver.state == "failing":
        return problem(
            SUBJECT,
            f"{name} does not accept them: {receiver.last_error}; {waiting}",
            f"Repair the receiver. Greendot tries again by itself. To end its wait, "
            f"{ENABLE}",
        )
    return ok(SUBJECT, f"{name} is active; {waiting}")
