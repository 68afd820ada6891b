"""Times in words, and the charts of the operators' page."""

from __future__ import annotations

import pytest

from app.operators.charts import HEIGHT, WIDTH, charts
from app.operators.words import connection_text, duration_text, utc_text
from models.presence.inspection import HeldConnection
from models.presence.samples import Sample

MINUTE = 60_000
NOW = 1_800_000_000_000


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        (0, "0 s"),
        (-5, "0 s"),
        (1200, "1.2 s"),
        (59_400, "59 s"),
        (150_000, "2 min"),
        (7_200_000, "2 h"),
        (172_800_000, "2 d"),
    ],
)
def test_a_span_in_words(ms, words):
    assert duration_text(ms) == words


def test_a_time_in_words():
    assert utc_text(NOW) == "2027-01-15 08:00:00 UTC"
    assert utc_text(10**18) == f"{10**18} ms"


@pytest.mark.parametrize(
    ("opened_at", "last_heartbeat", "sentence"),
    [
        (
            NOW - 120_000,
            NOW - 5000,
            (
                "A connection to gateway g:1 was opened 2 min ago. Its last heartbeat "
                "came 5.0 s ago. Without a new heartbeat it ends in 55 s."
            ),
        ),
        (
            None,
            NOW - 5000,
            (
                "A connection to gateway g:1 is open. Its last heartbeat came 5.0 s "
                "ago. Without a new heartbeat it ends in 55 s."
            ),
        ),
        (
            None,
            None,
            (
                "A connection to gateway g:1 is open. Without a new heartbeat it ends "
                "in 55 s."
            ),
        ),
    ],
)
def test_a_connection_in_words(opened_at, last_heartbeat, sentence):
    connection = HeldConnection(
        "g:1",
        opened_at,
        last_heartbeat,
        deadline=NOW + 55_000,
        in_grace=False,
        idle=False,
    )
    assert connection_text(connection, NOW) == sentence


def samples(*transitions: int) -> list[tuple[int, Sample]]:
    last = len(transitions) - 1
    return [
        (NOW - (last - place) * MINUTE, Sample(10 * place, 5, 1, 0, count))
        for place, count in enumerate(transitions)
    ]


def points(text: str) -> list[tuple[float, float]]:
    return [tuple(map(float, one.split(","))) for one in text.split()]


def test_a_chart_ends_now_and_stands_on_zero():
    online, *_ = charts(samples(0, 0, 0), NOW)
    assert (online.newest, online.highest) == ("20", "20")
    line = points(online.line)
    assert line == [
        (WIDTH * 58 / 60, HEIGHT),
        (WIDTH * 59 / 60, HEIGHT / 2),
        (WIDTH, 0),
    ]
    first, *middle, last = points(online.area)
    assert (first, middle, last) == ((line[0][0], HEIGHT), line, (WIDTH, HEIGHT))


def test_changes_are_counted_per_minute_also_when_a_counter_begins_anew():
    *_, changes, _ = charts(samples(100, 160, 12), NOW)
    assert (changes.newest, changes.highest) == ("12", "60")


def test_without_samples_charts_are_empty():
    for chart in charts([], NOW):
        assert (chart.newest, chart.line, chart.area) == ("none yet", "", "")


def test_what_is_older_than_an_hour_is_left_out():
    (_, old), (_, new) = samples(0, 0)
    online, *_ = charts([(NOW - 61 * MINUTE, old), (NOW, new)], NOW)
    assert len(points(online.line)) == 1
