"""The load of `sync`: live sockets, whose heartbeats must be acknowledged while a
command changes the graph under them."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from bench.marks import Marks
from bench.measure import percentiles_ms
from bench.swarm import ClientSocket, Swarm, User
from bench.wire import Receiver

EVERY = 0.5
"""Seconds between two heartbeats of a user."""
ACK = b'{"event":"heartbeat_ack"'


async def beats(
    swarm: Swarm,
    mark: Marks,
    *,
    command: list[str],
    environ: dict[str, str],
    cores: list[int],
) -> dict[str, Any]:
    """Connect all, and run `command` on any of `cores`, while everybody sends
    heartbeats. Tells how long both took."""
    sent: dict[int, float] = {}
    taken: list[float] = []
    take = swarm.take

    def heard(payload: bytes, to: Receiver) -> None:
        if not payload.startswith(ACK):
            take(payload, to)
        elif isinstance(to, ClientSocket):
            # The swarm sends heartbeats too, every 20 s.
            then = sent.pop(to.user.number, None)
            if then is not None:
                taken.append(time.perf_counter() - then)

    async def beat(user: User) -> None:
        while True:
            if user.socket is not None and user.number not in sent:
                sent[user.number] = time.perf_counter()
                user.socket.send(swarm.wire.heartbeat or b"")
            await asyncio.sleep(EVERY)

    swarm.take = heard
    await swarm.connect_all(swarm.users)
    tasks = [asyncio.create_task(beat(user)) for user in swarm.users]
    await asyncio.sleep(3 * EVERY)
    taken.clear()
    await mark("start")
    start = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **environ},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, cores) if cores else None,
    )
    _, errors = await process.communicate()
    seconds = time.perf_counter() - start
    await mark("end")
    await asyncio.sleep(EVERY)
    now = time.perf_counter()
    taken += [now - then for then in sent.values() if now - then > EVERY]
    for task in tasks:
        task.cancel()
    if process.returncode:
        raise RuntimeError(errors.decode(errors="replace")[-1000:])
    return {
        "seconds": seconds,
        "acks": len(taken),
        **percentiles_ms(taken),
        "dropped": swarm.dropped,
        "generator_share": mark.cpu_share("start", "end"),
    }
