"""WebSocket tickets: good once, for thirty seconds, for whoever they were issued to."""

from __future__ import annotations

import re
import threading
import time

import pytest

from models.presence.tickets import TICKET_TTL, Ticket

pytestmark = pytest.mark.integration

ANN = Ticket("ann", 1_700_000_000, 1_700_003_600.5)


def test_a_ticket_is_good_once(shard):
    tickets = shard.presence.tickets
    ticket = tickets.issue(ANN)
    assert tickets.take(ticket) == ANN
    assert tickets.take(ticket) is None


def test_tickets_are_long_random_and_fit_into_a_url(shard):
    issued = {shard.presence.tickets.issue(ANN) for _ in range(100)}
    assert len(issued) == 100
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{32,}", ticket) for ticket in issued)


def test_a_ticket_expires(shard):
    ticket = shard.presence.tickets.issue(ANN)
    key = shard.keys.ticket(ticket)
    assert TICKET_TTL == 30
    assert TICKET_TTL - 2 <= shard.client.ttl(key) <= TICKET_TTL
    shard.client.pexpire(key, 1)
    time.sleep(0.01)
    assert shard.presence.tickets.take(ticket) is None


@pytest.mark.parametrize(
    "content",
    [
        Ticket("auth0|host:1:x", 1_700_000_000, None),
        Ticket("1_2:3", 1_700_000_000, 1_700_003_600.25),
        Ticket("ann", None, 4e9),
        Ticket("ann", None, None),
    ],
)
def test_a_ticket_stands_for_a_user_and_the_times_of_a_token(shard, content):
    tickets = shard.presence.tickets
    ticket = tickets.issue(content)
    assert shard.client.ttl(shard.keys.ticket(ticket)) > 0
    assert tickets.take(ticket) == content
    assert tickets.take(ticket) is None


def test_tickets_of_the_version_before_are_taken_and_new_ones_are_taken_there(shard):
    tickets = shard.presence.tickets
    shard.client.set(shard.keys.ticket("old"), "a.token.x")
    assert tickets.take("old") == "a.token.x"
    shard.client.set(shard.keys.ticket("old"), "host:1700000000:ann")
    assert tickets.take("old") == Ticket("ann", 1_700_000_000, None)
    # As that version reads it.
    issued_at, _, user_id = ANN.stored().removeprefix("host:").partition(":")
    assert (int(issued_at) > 0, user_id) == (True, "ann")


@pytest.mark.parametrize("ticket", ["", "unknown", "*", "a b", "x" * 5000, "é"])
def test_an_unknown_ticket_is_nobodys(shard, ticket):
    shard.presence.tickets.issue(ANN)
    assert shard.presence.tickets.take(ticket) is None


def test_of_many_who_try_at_once_one_gets_it(shard):
    ticket = shard.presence.tickets.issue(ANN)
    got: list[object] = []
    start = threading.Barrier(8)

    def take() -> None:
        start.wait()
        got.append(shard.presence.tickets.take(ticket))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got.count(ANN) == 1
    assert got.count(None) == 7
