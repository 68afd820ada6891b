"""docs/OPERATIONS.md is true: it names every metric of /metrics, and no other, and the
rights with which all works."""

from __future__ import annotations

import re
import shlex
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from config import PROJECT_ROOT, Settings
from models.events import Transition
from models.presence import Presence
from models.presence.store import LiveConnection
from tasks import samples
from tests.clients import Client
from tests.clusters import ClusterOfServers, WithRights
from tests.deploy.monitoring import alerts, dashboard_queries
from tests.docs.pages import Page, code
from tests.needs import missing
from tests.servers import server_command
from tests.system import System, wait_until

PAGE = Page("docs/OPERATIONS.md")

pytestmark = pytest.mark.e2e


def served(system: System) -> set[str]:
    """The names of all metrics, with the names of their labels. A histogram has one
    name, without the endings of its parts."""
    found: set[str] = set()
    for family in text_string_to_metric_families(system.metrics()):
        for sample in family.samples:
            labels = ",".join(sorted(sample.labels.keys() - {"le"}))
            name = family.name if family.type == "histogram" else sample.name
            if not sample.name.endswith("_created"):
                found.add(f"{name}{{{labels}}}" if labels else name)
    return found


def test_the_tables_name_every_metric_and_no_other(system):
    rows = PAGE.tables("metric", "meaning", "alert when")
    named = [code(row[0]) for row in rows]
    assert len(named) == len(set(named))
    # The age of the last sweep is there once a sweep has run.
    wait_until(lambda: served(system) == set(named))


_SELECTOR = re.compile(r"\b(greendot_\w+)(?:\{(.*?)\})?")
_LABEL = re.compile(r'(\w+)(=~?)"(.*?)"')


def test_what_the_alerts_and_the_dashboard_ask_for_is_served(system):
    """Labels of Prometheus itself are left out."""
    wait_until(lambda: "greendot_last_sweep_age_seconds" in system.metrics())
    series = [
        sample
        for family in text_string_to_metric_families(system.metrics())
        for sample in family.samples
    ]
    asked = [rule["expr"] for rule in alerts().values()]
    found = set()
    for query in [*asked, *dashboard_queries()]:
        for name, selector in _SELECTOR.findall(query):
            labels = {
                label: value
                for label, _, value in _LABEL.findall(selector)
                if label not in {"job", "instance"}
            }
            assert any(
                one.name == name and labels.items() <= one.labels.items()
                for one in series
            ), f"{name}{labels} in {query}"
            found.add(name)
    assert len(found) > 20


_ABOVE = re.compile(r"^it is above ([\d,]+) for (\d+) (s|min)\b")


def test_the_tables_have_the_values_of_the_alert_rules():
    """Each cell that has a number and a time has those of a rule on its metric."""
    rules = alerts()
    used = set()
    cells = {
        code(row[0]): row[2] for row in PAGE.tables("metric", "meaning", "alert when")
    }
    for metric, cell in cells.items():
        if (found := _ABOVE.search(cell)) is None:
            continue
        above, time, unit = found.groups()
        rule = next(
            name
            for name, rule in rules.items()
            if f"{metric}) > {above.replace(',', '')}" in rule["expr"]
        )
        assert rules[rule]["for"] == f"{time}{unit[0]}", metric
        used.add(rule)
    assert used == {
        "GreendotOutboxGrows",
        "GreendotUnstoredGrows",
        "GreendotSweepLate",
    }
    fall = cells["greendot_online_users"]
    assert fall == "it falls by half within 2 min, from more than 50 users"
    assert "< 0.5 * (" in rules["GreendotOnlineUsersFall"]["expr"]
    assert "offset 2m) > 50)" in rules["GreendotOnlineUsersFall"]["expr"]


@pytest.mark.parametrize(
    ("kind", "together", "shards"),
    [
        ("valkey", False, 2),
        pytest.param("redis", True, 1, marks=pytest.mark.slow),
    ],
)
def test_the_rights_are_enough_for_all_that_it_does(kind, together, shards):
    binary = server_command(kind)
    if binary is None:
        missing(f"{kind}-server", "REDIS")
    rights = tuple(
        " ".join(PAGE.block(name).text.split()) for name in ("acl-state", "acl-broker")
    )
    store = WithRights(binary, rights, together=together)
    system = System(store=store, PRESENCE_SHARDS=str(shards))
    try:
        system.start()
        comes_and_goes(system)
        seldom_done(Presence.open(Settings.from_env(system.environ)))
        # Nothing else failed unnoticed.
        assert set(store.denied()) <= {"command info"}
    except BaseException:
        sys.stderr.write(system.logs())
        raise
    finally:
        system.close()
    assert "NOPERM" not in system.logs()


def test_the_rights_name_each_command_of_the_scripts():
    scripts = (PROJECT_ROOT / "models" / "presence" / "lua").glob("*.lua")
    used = {
        command.lower()
        for script in scripts
        for command in re.findall(r"\bp?call\(\s*'([A-Z]+)'", script.read_text())
    }
    allowed = re.findall(r"\+(\w+)", PAGE.block("acl-state").text)
    assert used >= {"hsetnx", "sadd", "xinfo"}
    assert used <= set(allowed)


@pytest.mark.slow
def test_the_rights_are_enough_on_a_cluster():
    (more,) = re.findall(r"On a cluster the first user also needs `(.*)`", PAGE.text)
    words = shlex.split(f"{PAGE.block('acl-state').text} {more}")
    store = ClusterOfServers()
    try:
        store.start()
        for node in store.nodes:
            with node.client() as client:
                client.execute_command(*words)
        presence = Presence.open(
            Settings.from_env(
                {
                    "SECRET_KEY": "s" * 32,
                    "REDIS_URL": store.url.replace("://", f"://{words[2]}:PASSWORD@"),
                    "CELERY_BROKER_URL": store.broker_url,
                    "PRESENCE_SHARDS": "6",
                }
            )
        )
        seldom_done(presence)
        assert presence.online(["dan", "eve"]) == {"dan": True, "eve": False}
        for node in store.nodes:
            with node.client() as client:
                assert client.acl_log() == []
    finally:
        store.close()


def comes_and_goes(system: System) -> None:
    """What a user does, and what becomes of the users of a gateway that dies."""
    system.befriend("ann", "bob", "cid")
    with Client(system, "ann").opened() as ann, Client(system, "bob", web=1).opened():
        ann.expect_change("bob", "online")
        status, answer = system.request(
            "POST", "/api/ws-ticket", token=system.token("cid")
        )
        assert status == 200
        ticket = answer["data"]["ticket"]
        with Client(system, query=f"?ticket={ticket}").opened() as cid:
            ann.expect_change("cid", "online")
            cid.send("leave")
            ann.expect_change("cid", "offline")
        for _ in range(2):  # the second time within the grace
            with Client(system, "cid").opened():
                pass
        ann.expect_change("cid", "online")
        ann.expect_change("cid", "offline")
        asked = system.request(
            "GET", "/api/friends/online-status", token=system.token("ann")
        )
        assert asked == (200, {"data": {"statuses": {"bob": True, "cid": False}}})
        assert "greendot_redis_up 1" in system.metrics()
        system.processes["web1"].kill()
        ann.expect_change("bob", "offline", 20)


def seldom_done(presence: Presence) -> None:
    """What happens when servers are away, and come back."""
    for shard in presence.shards:
        shard.store.hold_sweeps(1)
        shard.store.hold_sweeps(0)
        shard.outbox.record_missed([0])
        assert shard.outbox.has_missed()
        shard.outbox.clear_missed()
        shard.outbox.length()
        shard.gateways.heartbeat("g:1", [LiveConnection("dan", "g:1:1")], 1)
        shard.store.connect("g:1", [LiveConnection("dan", "g:1:1")])
        shard.gateways.forget("g:1")
    presence.overview()
    presence.inspect("dan")
    presence.samples.add(samples.sample(presence))
    assert presence.samples.read()
    presence.recent_transitions.add(0, [Transition("dan", "online", 1)])
    assert presence.recent_transitions.read()
    presence.gateway_loads()
    presence.check_writes()
