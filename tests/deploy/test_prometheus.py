"""A real Prometheus with the files of deploy/, in front of a real Greendot."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from tests.clients import Client
from tests.deploy.monitoring import RULES, dashboard_queries
from tests.deploy.proxies import program
from tests.servers import free_port
from tests.system import wait_until


@pytest.mark.e2e
@pytest.mark.slow
def test_a_healthy_system_fills_the_dashboard_and_no_alert_fires(
    system, tmp_path: Path
):
    targets = [f"127.0.0.1:{port}" for port in system.web_ports]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {"job_name": "greendot", "static_configs": [{"targets": targets}]}
        ],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))
    port = free_port()
    command = [
        program("prometheus", "PROMETHEUS"),
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]

    def ask(path: str, **query: str) -> Any:
        url = f"http://127.0.0.1:{port}/api/v1/{path}?{urlencode(query)}"
        with urlopen(url, timeout=10) as response:
            return json.load(response)["data"]

    def is_up() -> bool:
        try:
            return len(ask("query", query="up == 1")["result"]) == len(targets)
        except (HTTPError, URLError):
            return False

    def empty() -> list[str]:
        return [
            query
            for query in dashboard_queries()
            if not ask("query", query=query)["result"]
        ]

    system.befriend("prom-ann", "prom-bob")
    with (tmp_path / "log").open("wb") as log:
        prometheus = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until(is_up, 60)
        with Client(system, "prom-ann").opened() as ann:
            for _ in range(3):
                with Client(system, "prom-bob", web=1).opened() as bob:
                    ann.expect_change("prom-bob", "online")
                    bob.send("leave")
                ann.expect_change("prom-bob", "offline")
            wait_until(lambda: len(empty()) <= 1, 60)
        # This one shows only losses of data.
        assert all("epoch" in query for query in empty())
        firing = [
            alert["labels"]["alertname"]
            for alert in ask("alerts")["alerts"]
            if alert["state"] == "firing"
        ]
        assert firing == []
    finally:
        prometheus.terminate()
        prometheus.wait(30)
