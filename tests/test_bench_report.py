"""Rounds of a benchmark become one row, and none of their troubles is lost."""

from __future__ import annotations

from bench.report import Column, merged

COLUMNS = (
    Column("target", "server"),
    Column("case", "case"),
    Column("p50_ms", "p50 ms", "less"),
    Column("right_s", "right after s", "less"),
    Column("lost", "lost"),
)


def row(p50_ms: float, right_s: float | None, lost: int, target: str = "greendot"):
    return {
        "target": target,
        "case": "all",
        "p50_ms": p50_ms,
        "right_s": right_s,
        "lost": lost,
    }


def test_one_round_is_as_it_was():
    rows = [row(1.0, 2.0, 3), row(4.0, None, 5, "socketio")]
    assert merged(COLUMNS, rows) == rows


def test_of_many_rounds_there_is_the_median_and_the_worst():
    rows = [row(1.0, 3.0, 0), row(9.0, 1.0, 7), row(2.0, 2.0, 1)]
    assert merged(COLUMNS, rows) == [{**row(2.0, 2.0, 7), "rounds": rows}]


def test_what_a_round_lacks_has_no_median():
    rows = [row(1.0, 3.0, 0), row(2.0, None, 0), row(3.0, float("nan"), 0)]
    assert merged(COLUMNS, rows) == [{**row(2.0, None, 0), "rounds": rows}]
