"""The lines at the end of a run that tell which tests were skipped, and why."""

from __future__ import annotations

import pytest

from tests.needs import missing, summary


def skipped(test: str, reason: str) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=test,
        location=("", 0, ""),
        keywords={},
        outcome="skipped",
        longrepr=("conftest.py", 1, f"Skipped: {reason}"),
        when="setup",
    )


def test_one_line_for_each_reason():
    reports = [
        skipped("tests/presence/test_tls.py::test_a", "redis-server is missing"),
        skipped("tests/docs/test_operations.py::test_b", "redis-server is missing"),
        skipped("tests/presence/test_errors.py::test_c", "redis-server is missing"),
        skipped("tests/test_cli.py::test_d", "it is Sunday"),
    ]
    other, redis = summary(reports)
    assert other == "Skipped, because it is Sunday: 1 in tests/test_cli.py"
    where = "1 in tests/docs, 2 in tests/presence"
    assert redis == f"Skipped, because redis-server is missing: {where}"


def test_nothing_skipped_nothing_said():
    assert summary([]) == []


def test_ci_fails_where_a_program_is_missing(monkeypatch):
    monkeypatch.delenv("GREENDOT_REQUIRE_REDIS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="redis-server is missing"):
        missing("redis-server", "REDIS")
    monkeypatch.setenv("GREENDOT_REQUIRE_REDIS", "1")
    with pytest.raises(pytest.fail.Exception, match="GREENDOT_REQUIRE_REDIS is set"):
        missing("redis-server", "REDIS")
