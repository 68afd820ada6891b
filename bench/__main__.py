"""`python -m bench SCENARIO`: measures Greendot, alone or beside its peers.

Every figure comes from real processes on this machine, over loopback. See
bench/README.md for what the scenarios do and what they have shown.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Callable, Container, Sequence
from dataclasses import replace

from bench.crowd import CROWD, run_crowd
from bench.generator import GeneratorFailed
from bench.greendot import Greendot, GreendotWebhooks
from bench.machine import cores_for_generator, describe, pinned, raise_file_limit
from bench.many import MANY, many
from bench.peer_targets import FlaskSocketIO, FlaskSocketIOShared, SocketIO
from bench.report import Row, merged, report
from bench.scaling import SCALING, scaling
from bench.scenarios import FULL, QUICK, SCENARIOS, Scale, TargetKind
from bench.servers import DidNotStart, Target
from bench.store import STORE, store
from bench.sync import SYNC, sync

TARGETS: dict[str, TargetKind] = {
    kind.name: kind for kind in (Greendot, FlaskSocketIO, FlaskSocketIOShared, SocketIO)
}
OURS: dict[str, TargetKind] = {GreendotWebhooks.name: GreendotWebhooks}
"""Greendot with more turned on. A run has it only if `--targets` names it."""
ALONE = {
    "store": (store, STORE),
    "scaling": (scaling, SCALING),
    "sync": (sync, SYNC),
    "many": (many, MANY),
    "crowd": (run_crowd, CROWD),
}
"""Scenarios of our own parts, which no peer has."""
PEER = "peer-"
FILES_WANTED = 15_000
OURS_ALONE = ("hostile",)
"""Scenarios that speak Greendot's own protocol."""
BESIDE_PEERS = [name for name in SCENARIOS if name not in OURS_ALONE]
FAILURES = (DidNotStart, GeneratorFailed, OSError, subprocess.SubprocessError)
"""What must not take with it the figures of others, and of what was before."""
LONG = ("idle", "storm")
"""Scenarios that take minutes with each server."""


def main() -> None:
    """Run what the command line names."""
    # So that whoever ends us ends the servers, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    arguments = _parse()
    scale = QUICK if arguments.quick else FULL
    if raise_file_limit() < FILES_WANTED:
        print(
            "few open files are allowed here: 10,000 clients will not fit",
            file=sys.stderr,
        )
    scale = replace(scale, goodbye=arguments.goodbye)
    if arguments.connections:
        count = arguments.connections
        scale = replace(scale, many=count, crowd=count)
    if arguments.profile:
        Target.profile_seconds = arguments.profile
        scale = replace(scale, windows=scale.windows[-1:])
    name = arguments.scenario
    with pinned(cores_for_generator()):
        if name == "all":
            for scenario in SCENARIOS:
                targets = arguments.targets or _peers_for(scenario)
                _run(scenario, targets, scale, arguments.rounds)
            for alone in ALONE:
                _run_alone(alone, scale)
        elif name in ALONE:
            _run_alone(name, scale)
        elif name.startswith(PEER):
            targets = ["greendot", name.removeprefix(PEER)]
            for scenario in arguments.only or BESIDE_PEERS:
                report_name = f"{name}-{scenario}"
                _run(scenario, targets, scale, arguments.rounds, report_name)
        else:
            targets = arguments.targets or ["greendot"]
            _run(name, targets, scale, arguments.rounds)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    peers = [PEER + name for name in TARGETS if name != "greendot"]
    parser.add_argument("scenario", choices=["all", *SCENARIOS, *ALONE, *peers])
    parser.add_argument("--quick", action="store_true", help="prove the harness only")
    parser.add_argument(
        "--targets",
        type=_names_of(TARGETS | OURS),
        help=f"of {', '.join(TARGETS | OURS)}, separated by commas",
    )
    parser.add_argument(
        "--only", type=_names_of(BESIDE_PEERS), help="these scenarios of a peer-* run"
    )
    parser.add_argument(
        "--goodbye",
        choices=["leave", "close"],
        default="leave",
        help="how users go in `throughput`: they log out, or close their tabs",
    )
    parser.add_argument(
        "--connections",
        type=_whole_number,
        metavar="N",
        help="how many connections `many` and `crowd` open (default: 100,000)",
    )
    parser.add_argument(
        "--rounds",
        type=_whole_number,
        default=1,
        metavar="N",
        help="run the servers in turn, N times each, and give medians: a slow minute"
        " of the machine then falls on none of them alone",
    )
    parser.add_argument(
        "--profile", type=int, default=0, metavar="SECONDS", help="sample by py-spy"
    )
    return parser.parse_args()


def _whole_number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        message = "takes a whole number from 1"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _peers_for(scenario: str) -> list[str]:
    """All servers; where that would take very long, one per library."""
    if scenario in OURS_ALONE:
        return ["greendot"]
    names = list(TARGETS)
    if scenario in LONG:
        names.remove("flask-socketio-shared")
    return names


def _names_of(known: Container[str]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        unknown = [name for name in text.split(",") if name not in known]
        if unknown:
            message = f"unknown: {', '.join(unknown)}"
            raise argparse.ArgumentTypeError(message)
        return text.split(",")

    return names


def _run(
    scenario: str,
    targets: Sequence[str],
    scale: Scale,
    rounds: int,
    name: str | None = None,
) -> None:
    run, columns = SCENARIOS[scenario]
    machine = describe()
    rows: list[Row] = []
    for target in [*targets] * rounds:
        try:
            for row in run((TARGETS | OURS)[target], scale):
                print(f"{scenario}: {target}, {row['case']}: done", flush=True)
                rows.append(row)
        except FAILURES as error:
            print(f"{scenario}: {target}: {error}", file=sys.stderr)
            rows.append({"target": target, "case": "failed", "error": str(error)})
    rows = merged(columns, rows)
    order = {row["case"]: None for row in rows}
    rows.sort(key=lambda row: list(order).index(row["case"]))
    report(name or scenario, columns, rows, machine)


def _run_alone(name: str, scale: Scale) -> None:
    run, columns = ALONE[name]
    machine = describe()
    rows: list[Row] = []
    try:
        for row in run(scale):
            print(f"{name}: {row['case']}: done", flush=True)
            rows.append(row)
    except FAILURES as error:
        print(f"{name}: {error}", file=sys.stderr)
        rows.append({"case": "failed", "error": str(error)})
    report(name, columns, rows, machine)


if __name__ == "__main__":
    main()
