"""The load of `hydrate`: the status map of a user with many friends, over REST."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from bench.marks import Marks
from bench.measure import percentiles_ms
from bench.swarm import Swarm

OK = b"HTTP/1.1 200"


async def hydrate(
    swarm: Swarm, mark: Marks, *, path: str, seconds: float, at_once: int
) -> dict[str, Any]:
    """Half of user 0's friends are online; ask for the map, first by one client for the
    times, then by `at_once` for the rate. Connections are kept alive."""
    hub, *friends = swarm.users
    online = friends[::2]
    await swarm.connect_all(online)
    await asyncio.sleep(2)
    host, port = swarm.address.split(":")
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {swarm.address}\r\n"
        f"Authorization: Bearer {hub.token}\r\n\r\n"
    ).encode()

    async def ask(until: float) -> list[float]:
        reader, writer = await asyncio.open_connection(host, int(port))
        taken = []
        while time.perf_counter() < until:
            start = time.perf_counter()
            writer.write(request)
            body = await _answer(reader)
            taken.append(time.perf_counter() - start)
            if body.count(b"true") != len(online):
                message = f"{body.count(b'true')} of {len(online)} friends are online"
                raise ValueError(message)
        writer.close()
        return taken

    await ask(time.perf_counter() + 1)  # warm
    alone = await ask(time.perf_counter() + seconds / 2)
    await mark("start")
    until = time.perf_counter() + seconds
    many = await asyncio.gather(*(ask(until) for _ in range(at_once)))
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
