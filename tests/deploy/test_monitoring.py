"""The alert rules, the runbook and the dashboard, by Prometheus' own tool."""

from __future__ import annotations

import re
import subprocess
from itertools import combinations
from pathlib import Path

import yaml

from config import PROJECT_ROOT
from tests.deploy.monitoring import RULES, alerts, dashboard, dashboard_queries
from tests.deploy.proxies import program
from tests.docs.pages import Page

CASES = Path(__file__).parent / "alerts.test.yml"
RUNBOOK = Page("docs/RUNBOOK.md")
COLUMNS = 24


def promtool(*words: str | Path) -> str:
    ran = subprocess.run(
        [program("promtool", "PROMETHEUS"), *words],
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_prometheus_accepts_the_rules():
    assert f"{len(alerts())} rules found" in promtool("check", "rules", RULES)


def test_the_alerts_fire_when_they_should_and_only_then():
    promtool("test", "rules", CASES)


def test_there_is_a_case_in_which_each_alert_fires():
    cases = yaml.safe_load(CASES.read_text())["tests"]
    firing = {
        name
        for case in cases
        for query in case["promql_expr_test"]
        for sample in query.get("exp_samples", ())
        for name in re.findall(r'alertname="(\w+)"', sample["labels"])
    }
    assert firing == alerts().keys()


def test_each_alert_points_to_its_section_of_the_runbook():
    sections = re.findall(r"^## (\w+)$", RUNBOOK.text, re.MULTILINE)
    assert sections == list(alerts())
    for name, rule in alerts().items():
        notes = rule["annotations"]
        assert notes["runbook"] == f"{RUNBOOK.path}#{name.lower()}"
        assert notes["summary"]
        assert notes["description"]
        assert rule["labels"]["severity"] in {"critical", "warning"}


def test_each_section_says_what_it_means_what_to_look_at_and_what_to_do():
    _, *sections = re.split(r"^## ", RUNBOOK.text, flags=re.MULTILINE)
    for section in sections:
        parts = re.findall(r"^\*\*(.*?):\*\*", section, re.MULTILINE)
        assert parts == ["It means", "Look at", "Do"], section


def test_the_runbook_names_panels_and_settings_that_exist():
    titles = {panel["title"] for panel in dashboard()["panels"]}
    named = set(re.findall(r"\*([A-Z][^*]+)\*(?= (?:and|in) )", RUNBOOK.text))
    assert len(named) > 5
    assert named <= titles
    settings = {
        name
        for file in ("config.py", "docs/CONFIGURE.md")
        for name in re.findall(
            r"[A-Z]+_[A-Z_]+", (PROJECT_ROOT / file).read_text(encoding="utf-8")
        )
    }
    assert set(re.findall(r"PRESENCE_\w+", RUNBOOK.text)) <= settings


def test_prometheus_accepts_the_queries_of_the_dashboard(tmp_path: Path):
    queries = list(dashboard_queries())
    assert len(queries) > 30
    rules = [
        {"record": f"query_{number}", "expr": query}
        for number, query in enumerate(queries)
    ]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    assert f"{len(queries)} rules found" in promtool("check", "rules", file)


def test_the_panels_do_not_overlap():
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] + place["w"] <= COLUMNS for place in places)
    for one, other in combinations(places, 2):
        is_apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert is_apart, (one, other)
