"""What a gateway reads of its stream."""

from __future__ import annotations

import time
from contextlib import closing

import pytest

from models.events import Delivery, GatewayMessage, Transition
from tests.gateway.client import BEFORE, Client, open_them

pytestmark = pytest.mark.integration


def test_a_server_whose_clock_is_behind_takes_the_place_of_ours(
    gateway, presence, settings
):
    """The ids of its messages are less than the last one that we have read."""
    home = presence.shards[0]
    with closing(Client(gateway, settings, "ann")) as ann:
        open_them(gateway, ann.connection)
        ann.messages()
        now = int(time.time() * 1000)
        gateway._listener._last_id = f"{now + 60_000}-3"  # its clock was ahead
        gateway._begin_anew(home.number, now)
        news = Delivery(Transition(BEFORE, "online", now + 1), "ann")
        presence.mail.publish({gateway.id: GatewayMessage(transitions=(news,))})
        gateway._listener.step()
        assert [data["user_id"] for _, data in ann.messages()] == [BEFORE]
