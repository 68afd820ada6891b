"""The host application's routes for its webhook receivers: how they are, and enable."""

from __future__ import annotations

from flask import Blueprint

from app.api import admin_input
from app.api.admin_input import bad_request
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
def list_webhooks() -> Answer:
    """All receivers, in the order of the settings."""
    found = services().presence.webhooks.states()
    return {"data": {"webhooks": [_receiver(one) for one in found]}}


@blueprint.post("/enable")
def enable() -> Answer:
    """Send to a receiver again, at once. It hears the state of all users."""
    url = admin_input.body().get("url")
    if not isinstance(url, str):
        raise bad_request(field="url", takes="takes the URL of a webhook receiver")
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
