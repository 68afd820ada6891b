"""The load of `hydrate`: status maps of users with many friends, over REST."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from bench.marks import Marks
from bench.measure import percentiles_ms
from bench.swarm import Swarm

OK = b"HTTP/1.1 200"


async def hydrate(
    swarm: Swarm, mark: Marks, *, path: str, seconds: float, at_once: int, askers: int
) -> dict[str, Any]:
    """Every other user is online; `askers` of the rest ask for their maps: first one of
    them for the times, then `at_once` clients in all for the rate. Connections are kept
    alive."""
    await swarm.connect_all(swarm.users[::2])
    await asyncio.sleep(2)
    host, port = swarm.address.split(":")

    async def ask(number: int, until: float) -> list[float]:
        # Far apart, and none of them online.
        user = swarm.users[len(swarm.users) // askers * (number % askers) | 1]
        online = sum(friend % 2 == 0 for friend in swarm.graph.friends_of(user.number))
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {swarm.address}\r\n"
            f"Authorization: Bearer {user.token}\r\n\r\n"
        ).encode()
        reader, writer = await asyncio.open_connection(host, int(port))
        taken = []
        while time.perf_counter() < until:
            start = time.perf_counter()
            writer.write(request)
            body = await _answer(reader)
            taken.append(time.perf_counter() - start)
            if body.count(b"true") != online:
                message = f"{body.count(b'true')} of {online} friends are online"
                raise ValueError(message)
        writer.close()
        return taken

    await ask(0, time.perf_counter() + 1)  # warm
    alone = await ask(0, time.perf_counter() + seconds / 2)
    await mark("start")
    until = time.perf_counter() + seconds
    many = await asyncio.gather(*(ask(number, until) for number in range(at_once)))
    await mark("end")
    times = [taken for one in many for taken in one]
    return {
        **percentiles_ms(alone),
        "p99_busy_ms": percentiles_ms(times)["p99_ms"],
        "requests_per_s": len(times) / mark.seconds("start", "end"),
        "requests": len(times),
        "dropped": swarm.dropped,
        "generator_share": mark.cpu_share("start", "end"),
    }


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(OK):
        message = head.decode(errors="replace")
        raise ValueError(message)
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return await reader.readexactly(int(value))
    message = "an answer without Content-Length"
    raise ValueError(message)
