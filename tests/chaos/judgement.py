"""Judges what was announced during a run: which offlines were false, and how long
ghosts lived."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from models.events import Transition
from tests.chaos.faults import Injected
from tests.chaos.span import Span
from tests.chaos.stage import GRACE, SWEEP, TTL
from tests.chaos.witness import Witness

EXCUSED_AFTER = TTL + GRACE + SWEEP
"""Seconds after a fault for which it may be the reason of what happens."""


@dataclass
class Judgement:
    """What the announcements of a run were worth. Ghost times are seconds."""

    false_offlines: list[str]
    excused: int
    """Offlines while a gateway was cut off for so long that nobody could know."""
    worst_ghost: float
    worst_calm_ghost: float
    """The same, of ghosts in whose time no fault was at work."""
    ghost: str = ""
    """The worst one: the user, its end, and the faults of that time."""


def judge(
    witness: Witness, spans: Iterable[Span], injected: list[Injected]
) -> Judgement:
    """Judge every announced offline: did the user have a socket that the server itself
    answered afterwards? And if rightly announced: how late was it?"""
    of_user: dict[str, list[Span]] = {}
    for span in spans:
        of_user.setdefault(span.user_id, []).append(span)
    result = Judgement([], 0, 0.0, 0.0)
    before: dict[str, Transition] = {}
    for change in sorted(witness.transitions, key=lambda change: change.timestamp):
        previous, before[change.user_id] = before.get(change.user_id), change
        if change.status == "online":
            continue
        at = change.timestamp / 1000
        theirs = of_user.get(change.user_id, [])
        live = [span for span in theirs if _is_live(span, at)]
        if live and any(_is_excused(span, at, injected) for span in live):
            result.excused += 1
        elif live:
            result.false_offlines.append(
                f"{change}, but {live[0].device} had {live[0].connection_id} from "
                f"{live[0].opened_at} on, answered at {live[0].answered_at}"
            )
        else:
            ends = [span.ended_at for span in theirs if span.ended_at is not None]
            ended = max((end for end in ends if end <= at), default=at)
            # Announced once already: a Redis with an older state says it again.
            if not _is_again(previous, ended):
                _note_ghost(result, change, ended, injected)
    return result


def _is_again(previous: Transition | None, ended: float) -> bool:
    return (
        previous is not None
        and previous.status == "offline"
        and previous.timestamp > ended * 1000
    )


def _is_live(span: Span, at: float) -> bool:
    return span.opened_at is not None and span.opened_at < at < span.answered_at


def _is_excused(span: Span, at: float, injected: list[Injected]) -> bool:
    return any(
        fault.fault.kind.cuts_off
        and fault.fault.gateway == f"web{span.web}"
        and _touches(fault, at, at)
        for fault in injected
    )


def _note_ghost(
    result: Judgement, change: Transition, ended: float, injected: list[Injected]
) -> None:
    at = change.timestamp / 1000
    ghost = at - ended
    if ghost > result.worst_ghost:
        result.worst_ghost = ghost
        faults = [one.fault.name for one in injected if _touches(one, ended, at)]
        result.ghost = f"{change.user_id} until {at:.1f}, amid {'; '.join(faults)}"
    if is_calm(ended, at, injected):
        result.worst_calm_ghost = max(result.worst_calm_ghost, ghost)


def is_calm(begin: float, end: float, injected: list[Injected]) -> bool:
    """Whether no fault was at work, nor its aftermath, between two times."""
    return not any(_touches(fault, begin, end) for fault in injected)


def _touches(injected: Injected, begin: float, end: float) -> bool:
    """Whether it was at work, or its aftermath, between two times."""
    ended = injected.ended if injected.ended is not None else float("inf")
    return injected.began <= end and begin <= ended + EXCUSED_AFTER
