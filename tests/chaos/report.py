"""What a run found, in figures and, where something is wrong, in detail."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tests.chaos.faults import Injected

MAX_LINES = 12
"""Lines of detail per thing that went wrong."""


@dataclass
class Report:
    """Everything that a run has measured. Times are seconds."""

    seed: int
    devices: int
    users: int
    seconds: float = 0.0
    injected: list[Injected] = field(default_factory=list)
    transitions: int = 0
    events: int = 0
    missed: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    false_offlines: list[str] = field(default_factory=list)
    excused_offlines: int = 0
    worst_ghost: float = 0.0
    worst_calm_ghost: float = 0.0
    ghost: str = ""
    """The worst one: the user, and what was done to the system in that time."""
    convergence: list[float] = field(default_factory=list)
    """Of each round that converged: how long it took from the end of its faults."""
    wrong: dict[str, list[str]] = field(default_factory=dict)
    """Of each round that did not: what was wrong at the end of its time."""
    unexpected: list[str] = field(default_factory=list)
    calm_delays: list[float] = field(default_factory=list)
    """From a transition to a client, while no fault was at work."""
    host_seconds: float = 0.0
    """How long the host's map took in the end, after all else was right."""
    worst_lag: float = 0.0
    logs: str = ""

    def failures(self) -> dict[str, list[str]]:
        """What makes this run fail; empty where all was right."""
        found = {
            **self.wrong,
            "missed": self.missed,
            "duplicated": self.duplicates,
            "false offlines": self.false_offlines,
            "unexpected": self.unexpected,
        }
        return {name: lines for name, lines in found.items() if lines}

    def text(self) -> str:
        """The report for a person."""
        kinds = Counter(injected.fault.name for injected in self.injected)
        rounds = len(self.convergence) + len(self.wrong)
        rows = {
            "faults injected": str(len(self.injected)),
            "transitions": str(self.transitions),
            "events delivered": str(self.events),
            "missed": str(len(self.missed)),
            "duplicated": str(len(self.duplicates)),
            "false offlines": f"{len(self.false_offlines)} "
            f"(and {self.excused_offlines} while a gateway was cut off for too long)",
            "worst ghost": f"{self.worst_ghost:.2f} s "
            f"(while no fault was at work: {self.worst_calm_ghost:.2f} s)",
            "that one": self.ghost or "-",
            "converged": f"{len(self.convergence)} of {rounds} rounds, "
            f"worst {max(self.convergence, default=0):.2f} s",
            "delivery": f"median {self._delay(0.5):.0f} ms, "
            f"p99 {self._delay(0.99):.0f} ms, while no fault was at work",
            "webhooks": f"the host knew after {self.host_seconds:.2f} s more",
            "own lag": f"{self.worst_lag:.2f} s at worst",
        }
        size = f"{self.users} users, {self.devices} devices"
        lines = [
            f"seed {self.seed}, {self.seconds:.0f} s, {size}",
            *(f"  {name:<17} {value}" for name, value in rows.items()),
            *(f"  {count:>4} x {name}" for name, count in sorted(kinds.items())),
        ]
        for name, problems in self.failures().items():
            lines.append(f"WRONG: {name} ({len(problems)})")
            lines += [f"    {problem}" for problem in problems[:MAX_LINES]]
        if self.failures():
            lines.append(f"logs: {self.logs}")
            lines.append(f"again: make chaos SEED={self.seed}")
        return "\n".join(lines)

    def _delay(self, share: float) -> float:
        """The delay in ms that this share of the events did not exceed."""
        delays = sorted(self.calm_delays)
        return delays[int(share * (len(delays) - 1))] * 1000 if delays else 0.0
