"""The seeded schedule of faults: which, when, for how long, and on whom. Pure: the same
seed gives the same schedule, and nothing here touches a process."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

ROUND_SECONDS = 16.0
"""Seconds of one round in which faults begin; then they end, and all must converge."""
FAULTS_PER_ROUND = (3, 6)
GATEWAYS = ("web0", "web1")
WORKERS = ("worker0", "worker1")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault: what it may hit, and for how many seconds."""

    name: str
    targets: tuple[str, ...]
    least: float
    most: float
    cuts_off: bool = False
    """Whether a gateway it hits cannot prove that its sockets live, for longer than its
    TTL or that of its clients: their users have to be announced offline."""


KINDS = (
    Kind("kill", GATEWAYS, 0.2, 2.0),
    Kind("stop", GATEWAYS, 0.5, 1.5),
    Kind("long stop", GATEWAYS, 3.5, 9.0, cuts_off=True),
    Kind("planned restart", GATEWAYS, 0, 0),
    Kind("rolling restart", ("gateways",), 0, 0),
    Kind("kill", WORKERS, 0.2, 3.0),
    Kind("stop", WORKERS, 1.0, 8.0),
    Kind("planned restart", WORKERS, 0, 0),
    Kind("kill", ("beat",), 0.2, 3.0),
    Kind("stop", ("beat",), 1.0, 8.0),
    Kind("second one", ("beat",), 4.0, 10.0),
    Kind("restart empty", ("valkey",), 0.1, 3.0),
    Kind("restart from an old snapshot", ("valkey",), 0.1, 3.0),
    Kind("stop", ("valkey",), 0.5, 2.0),
    Kind("long stop", ("valkey",), 7.0, 9.0),
    Kind("flush all", ("valkey",), 0, 0),
    Kind("kill every connection", ("valkey",), 0, 0),
    # Error replies: OOM, READONLY, MASTERDOWN, NOPERM. Three TTLs at most.
    Kind("full", ("valkey",), 1.0, 4.0),
    Kind("long full", ("valkey",), 7.0, 18.0),
    Kind("replica", ("valkey",), 0.5, 2.0),
    Kind("long replica", ("valkey",), 5.0, 9.0),
    Kind("replica without its primary", ("valkey",), 1.0, 5.0),
    Kind("rights taken", ("valkey",), 1.0, 6.0),
    Kind("keys deleted", ("valkey",), 0, 0),
    Kind("delay", ("redis of web0", "redis of web1"), 2.0, 6.0),
    Kind("cut", ("redis of web0", "redis of web1"), 0.5, 1.5),
    Kind("cut", ("redis of web0", "redis of web1"), 4.0, 9.0, cuts_off=True),
    Kind("stall", ("redis of web0", "redis of web1"), 3.5, 8.0, cuts_off=True),
    # A dead line to Redis is noticed after ANSWER_TIMEOUT, which is no setting: it is
    # shorter than the gateway TTL of production, and longer than that of these runs.
    Kind("half-open", ("redis of web0", "redis of web1"), 0, 0, cuts_off=True),
    Kind("delay", ("redis of workers",), 2.0, 6.0),
    Kind("cut", ("redis of workers",), 1.0, 6.0),
    # It lasts until it is noticed: see `health_check_interval` in tasks/celery_app.py.
    Kind("half-open", ("redis of workers",), 16.0, 16.0),
    Kind("delay", ("clients of web0", "clients of web1"), 2.0, 6.0),
    Kind("cut", ("clients of web0", "clients of web1"), 0.2, 3.0),
    Kind("stall", ("clients of web0", "clients of web1"), 0.5, 1.5),
    Kind("stall", ("clients of web0", "clients of web1"), 5.0, 9.0, cuts_off=True),
    Kind("half-open", ("clients of web0", "clients of web1"), 0, 0, cuts_off=True),
    Kind("cut", ("database",), 10.0, 10.0),
    Kind("stall", ("database",), 4.0, 10.0),
    Kind("read-only", ("database",), 4.0, 10.0),
    # The same: the time that an answer may take.
    Kind("half-open", ("database",), 10.0, 10.0),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: it begins `at` seconds into its round and lasts `lasts` seconds, not
    counting the time that a process takes to start again."""

    kind: Kind
    target: str
    at: float
    lasts: float
    seed: int
    """For choices of its own, such as the side that a half-open line leaves."""

    @property
    def name(self) -> str:
        return f"{self.target}: {self.kind.name}"

    @property
    def gateway(self) -> str | None:
        """The gateway that it hits, whose users it may cut off."""
        return next((name for name in GATEWAYS if self.target.endswith(name)), None)


def schedule(seed: int, rounds: int) -> list[list[Fault]]:
    """The faults of each round. Every kind comes before any comes again, and nothing is
    hit by two faults at once."""
    chance = random.Random(seed)  # noqa: S311 - to be repeated, not secret
    kinds = _shuffled_for_ever(chance)
    return [_round(chance, kinds) for _ in range(rounds)]


def _round(chance: random.Random, kinds: Iterator[Kind]) -> list[Fault]:
    busy_until: dict[str, float] = {}
    faults = []
    for _ in range(chance.randint(*FAULTS_PER_ROUND)):
        kind = next(kinds)
        target = chance.choice(kind.targets)
        lasts = chance.uniform(kind.least, kind.most)
        at = chance.uniform(0, ROUND_SECONDS * 0.75)
        parts = parts_of(target)
        at = max([at, *(busy_until.get(part, 0.0) for part in parts)])
        for part in parts:
            busy_until[part] = at + lasts + 1
        faults.append(Fault(kind, target, at, lasts, chance.getrandbits(32)))
    return sorted(faults, key=lambda fault: fault.at)


def parts_of(target: str) -> tuple[str, ...]:
    """What a fault on `target` touches, in an order that is always the same."""
    return GATEWAYS if target == "gateways" else (target,)


def _shuffled_for_ever(chance: random.Random) -> Iterator[Kind]:
    while True:
        kinds = list(KINDS)
        chance.shuffle(kinds)
        yield from kinds
