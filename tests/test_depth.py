"""One heartbeat, and one connect, run through few functions and files of ours."""

from __future__ import annotations

import pytest

from tests.depth import Way, files, ways

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def traced() -> dict[str, Way]:
    return ways()


def test_a_heartbeat_goes_through_few_functions(traced):
    way = traced["heartbeat"].nested
    assert len(files(way)) <= 10
    assert len(way) <= 20


def test_a_connect_goes_through_few_files(traced):
    assert len(files(traced["connect"].nested)) <= 20
