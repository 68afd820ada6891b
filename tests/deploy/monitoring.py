"""Reads the alert rules and the dashboard of deploy/."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from config import PROJECT_ROOT

RULES = PROJECT_ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = PROJECT_ROOT / "deploy" / "grafana" / "greendot.json"


def alerts() -> dict[str, dict[str, Any]]:
    """The alert rules by name, in their order."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    return {rule["alert"]: rule for rule in rules}


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana reads it."""
    found: dict[str, Any] = json.loads(Path(DASHBOARD).read_text())
    return found


def dashboard_queries() -> Iterator[str]:
    """All queries of the dashboard, with values in place of Grafana's variables."""
    found = dashboard()
    queries = [one["expr"] for one in found["annotations"]["list"]]
    for panel in found["panels"]:
        queries += [target["expr"] for target in panel.get("targets", ())]
    for query in queries:
        text = query.replace("$__rate_interval", "5m").replace("$job", "greendot")
        assert "$" not in text, query
        yield text
