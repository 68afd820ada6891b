"""Tables for the terminal, and JSON for whoever compares runs."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from bench.machine import describe
from config import PROJECT_ROOT

RESULTS = PROJECT_ROOT / "bench" / "results"

Row = Mapping[str, Any]
OURS = "greendot"


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of a scenario. `better` says which way is good, if one is."""

    key: str
    title: str
    better: Literal["more", "less"] | None = None
    digits: int = 1


def report(
    scenario: str,
    columns: Sequence[Column],
    rows: Sequence[Row],
    machine: Mapping[str, object] | None = None,
) -> None:
    """Print the rows, and how many times better Greendot is than each peer in the same
    case; write all of it to bench/results/SCENARIO.json."""
    print(f"\n## {scenario}\n")
    print(table(columns, rows))
    ratios = compare(columns, rows)
    if ratios:
        print("\nTimes better than the peer (above 1: Greendot is ahead)\n")
        shown = [Column(c.key, c.title, digits=2) for c in columns if c.better]
        print(
            table([Column("target", "against"), Column("case", "case"), *shown], ratios)
        )
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{scenario}.json"
    document = {
        "scenario": scenario,
        "command": "python -m bench " + " ".join(sys.argv[1:]),
        "machine": machine or describe(),
        "rows": list(rows),
        "ratios": ratios,
    }
    path.write_text(
        json.dumps(document, indent=2, default=str) + "\n", encoding="utf-8"
    )
    print(
        f"\n{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}"
    )


def merged(columns: Sequence[Column], rows: Sequence[Row]) -> list[Row]:
    """One row for each server and case that `rows` has many times over, in `rounds`:
    the median of each figure of which more or less is better. Of all others (what was
    lost, the longest) it has the worst, and of one that a round lacks it has none, so
    that no round's trouble is hidden. What is no column is of the first round; `rounds`
    has all of them."""
    rounds: dict[tuple[object, object], list[Row]] = {}
    for row in rows:
        rounds.setdefault((row["target"], row["case"]), []).append(row)
    return [_middle(columns, same) for same in rounds.values()]


def _middle(columns: Sequence[Column], rows: Sequence[Row]) -> Row:
    if len(rows) == 1:
        return rows[0]
    figures: dict[str, float | None] = {}
    for column in columns:
        found = [row[column.key] for row in rows if _is_figure(row, column)]
        if len(found) == len(rows):
            figures[column.key] = (median if column.better else max)(found)
        elif found:  # a round without one had trouble: no map was right, for example
            figures[column.key] = None
    return {**rows[0], **figures, "rounds": list(rows)}


def _is_figure(row: Row, column: Column) -> bool:
    value = row.get(column.key)
    return isinstance(value, int | float) and not math.isnan(value)


def compare(columns: Sequence[Column], rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Greendot against each peer, case by case."""
    ours = {row.get("case"): row for row in rows if row.get("target") == OURS}
    ratios = []
    for row in rows:
        mine = ours.get(row.get("case"))
        if mine is None or row["target"] == OURS:
            continue
        ratio = {"target": row["target"], "case": row.get("case")}
        for column in columns:
            if column.better:
                ratio[column.key] = _ratio(
                    mine.get(column.key), row.get(column.key), column
                )
        ratios.append(ratio)
    return ratios


def _ratio(mine: float | None, other: float | None, column: Column) -> float | None:
    if not mine or not other:
        return None
    return mine / other if column.better == "more" else other / mine


def table(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """A Markdown table."""
    cells = [[column.title for column in columns]]
    cells += [
        [_cell(row.get(column.key), column) for column in columns] for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| "
        + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True))
        + " |"
        for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _cell(value: object, column: Column) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,.{0 if isinstance(value, int) else column.digits}f}"
    return str(value)
