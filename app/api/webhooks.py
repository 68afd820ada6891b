"""The host application's routes for its webhook receivers: how they are, and enable."""

from __future__ import annotations

from flask import Blueprint

from app.api import admin_input
from app.api.schema import bodies, host_answers
from app.api.schema.operation import NOT_FOUND, PRESENCE, for_host
from app.auth import require_service_key
from app.errors import ApiError
from app.services import services
from models.presence.webhooks import ReceiverState

blueprint = Blueprint("webhooks", __name__, url_prefix="/api/admin/webhooks")

Answer = dict[str, object]


@blueprint.before_request
def _guard() -> None:
    require_service_key()


@blueprint.get("")
@for_host("Webhooks", gives=host_answers.Webhooks, codes=[PRESENCE])
def list_webhooks() -> Answer:
    """All receivers, in the order of the settings."""
    found = services().presence.webhooks.states()
    return {"data": {"webhooks": [_receiver(one) for one in found]}}


@blueprint.post("/enable")
@for_host(
    "Webhooks",
    takes=bodies.WebhookReceiver,
    gives=host_answers.Webhook,
    codes=[NOT_FOUND, PRESENCE],
)
def enable_webhook() -> Answer:
    """Send to a receiver again, at once. It hears the state of all users."""
    url = admin_input.body(bodies.WebhookReceiver).url
    webhooks = services().presence.webhooks
    if url not in webhooks.urls:
        message = f"there is no webhook receiver {url:.200}"
        raise ApiError(404, "not_found", message)
    webhooks.enable(url)
    (found,) = (one for one in webhooks.states() if one.url == url)
    return {"data": _receiver(found)}


def _receiver(one: ReceiverState) -> Answer:
    return {
        "url": one.url,
        "state": one.state,
        "pending": one.pending,
        "last_error": one.last_error,
    }
