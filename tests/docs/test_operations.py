"""docs/OPERATIONS.md is true: it names every figure of /metrics, and no other."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.docs.pages import Page, code
from tests.system import System, wait_until

PAGE = Page("docs/OPERATIONS.md")

pytestmark = pytest.mark.e2e


def served(system: System) -> set[str]:
    """The names of all figures, with the names of their labels."""
    return {
        sample.name + ("{" + ",".join(sample.labels) + "}" if sample.labels else "")
        for family in text_string_to_metric_families(system.metrics())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_the_tables_name_every_figure_and_no_other(system):
    rows = PAGE.tables("figure", "what it says", "look into it when")
    named = [code(row[0]) for row in rows]
    assert len(named) == len(set(named))
    # The age of the last sweep is there once a sweep has run.
    wait_until(lambda: served(system) == set(named))
