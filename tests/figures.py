"""Reads what /metrics says."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.system import System

Figures = dict[str, float]


def scrape(system: System, web: int = 0) -> Figures:
    """All samples, under their names; a label follows as in `greendot_closes:1000`."""
    found: Figures = {}
    for family in text_string_to_metric_families(system.metrics(web)):
        assert family.name.startswith("greendot_")
        assert family.documentation
        assert family.type in {"counter", "gauge", "histogram"}
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                name = ":".join((sample.name, *sample.labels.values()))
                assert name not in found
                found[name] = sample.value
    return found
