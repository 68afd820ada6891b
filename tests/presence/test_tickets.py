"""WebSocket tickets: good once, for thirty seconds, for whoever they were issued to."""

from __future__ import annotations

import re
import threading
import time

import pytest

from models.presence.tickets import TICKET_TTL, HostTicket

pytestmark = pytest.mark.integration


def test_a_ticket_is_good_once(shard):
    tickets = shard.presence.tickets
    ticket = tickets.issue("a token")
    assert tickets.take(ticket) == "a token"
    assert tickets.take(ticket) is None


def test_tickets_are_long_random_and_fit_into_a_url(shard):
    issued = {shard.presence.tickets.issue("t") for _ in range(100)}
    assert len(issued) == 100
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{32,}", ticket) for ticket in issued)


def test_a_ticket_expires(shard):
    ticket = shard.presence.tickets.issue("a token")
    key = shard.keys.ticket(ticket)
    assert TICKET_TTL == 30
    assert TICKET_TTL - 2 <= shard.client.ttl(key) <= TICKET_TTL
    shard.client.pexpire(key, 1)
    time.sleep(0.01)
    assert shard.presence.tickets.take(ticket) is None


def test_a_ticket_of_the_host_names_the_user_and_the_time(shard):
    tickets, earlier = shard.presence.tickets, int(time.time())
    ticket = tickets.issue_for("auth0|host:1:x")
    assert shard.client.ttl(shard.keys.ticket(ticket)) > 0
    found = tickets.take(ticket)
    assert isinstance(found, HostTicket)
    assert found.user_id == "auth0|host:1:x"
    assert earlier <= found.issued_at <= time.time()
    assert tickets.take(ticket) is None


@pytest.mark.parametrize("ticket", ["", "unknown", "*", "a b", "x" * 5000, "é"])
def test_an_unknown_ticket_is_nobodys(shard, ticket):
    shard.presence.tickets.issue("a token")
    assert shard.presence.tickets.take(ticket) is None


def test_of_many_who_try_at_once_one_gets_it(shard):
    ticket = shard.presence.tickets.issue("a token")
    got: list[str | None] = []
    start = threading.Barrier(8)

    def take() -> None:
        start.wait()
        got.append(shard.presence.tickets.take(ticket))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got.count("a token") == 1
    assert got.count(None) == 7
