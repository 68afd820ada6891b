"""The URLs in the settings: every option is understood by all who read it, or refused
at the start with one line."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

import database_url
import redis_url
from app.dev.processes import read_procfile
from config import PROJECT_ROOT, Settings, SettingsError
from redis_url import CLUSTER, SENTINEL, SERVER, RedisUrl

SCHEMES = SERVER | SENTINEL | CLUSTER
NEEDED = {"PRESENCE_JWT_SECRET": "s" * 32}


def refusal(name: str, url: str) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({**NEEDED, name: url})
    line = str(caught.value)
    assert line.startswith(f"{name}=")
    assert "\n" not in line
    assert "hunter2" not in line
    return line


@pytest.mark.parametrize(
    "url",
    [
        "postgres://h/d?connection_limit=1",
        "postgres://h/d?sslmode=no-verify",
        "postgres://h/d?sslmode=",
        "postgres://h/d?sslmode",
        "postgres://h/d?sslmode=require&sslmode=disable",
        "postgres://h/d?sslrootcert=/no/such/file",
        "postgres://h/d?schema=private",
        "postgres://h/d?channel_binding=yes",
        "postgres://h/d?connect_timeout=soon",
        "postgres://h/d?prepare_threshold=0",
        "postgres://h/d?hunter2@=1",
        "postgres://u:hunter2@x@h/d",
        "postgres://u:hunter2#x@h/d",
        "postgres://a..b/d",
        "postgres://h:0/d",
        "postgres://h:/d",
        "postgres://[::g]/d",
        "postgres://h1,h2:x/d",
        "postgres://h/d?host=other",
        "postgres:///d?host=h1,h2&port=1,2,3",
        "postgresql+psycopg2://h/d",
        "sqlite:///x.db?mode=ro",
        "sqlite:///x.db?check_same_thread=false",
        "sqlite:///file:x.db?uri=true",
        "sqlite:///:memory:",
        "sqlite:///",
        "sqlite:////",
    ],
)
def test_a_database_that_no_program_could_use_is_refused(url):
    refusal("DATABASE_URL", url)


@pytest.mark.parametrize("name", ["REDIS_URL", "CELERY_BROKER_URL"])
@pytest.mark.parametrize(
    "url",
    [
        "rediss://h?ssl_cert_reqs=CERT_MAYBE",
        "rediss://h?ssl_cert_reqs=",
        "rediss://h?ssl_ca_certs=/no/such/file",
        f"rediss://h?ssl_ca_certs={__file__}",
        f"rediss://h?ssl_keyfile={__file__}",
        "redis://h?ssl_cert_reqs=none",
        "redis://h?socket_timeout=5",
        "redis://h?protocol=3",
        "redis://h?virtual_host=1",
        "redis://h/1?db=2",
        "redis://h/1/2",
        "redis://h?password=hunter2",
        "redis://u:hunter2@x@h",
        "redis://:hunter2#x@h",
        "redis://:%ff@h",
        "redis://a..b",
        "redis://ho%20st",
        "redis://h,i",
        "redis+sentinel://h:1/name?password=hunter2",
        "redis+sentinel://h:1/name?ssl_cert_reqs=none",
        "unix:///tmp/s",
        "redis+socket:///tmp/s",
    ],
)
def test_a_redis_that_no_program_could_use_is_refused(name, url):
    refusal(name, url)


@pytest.mark.parametrize(
    "url", ["amqp://h:x//", "amqp://h//?heartbeat=5", "amqp://h;redis://i", "amqps://["]
)
def test_a_broker_of_another_kind_is_looked_at_too(url):
    refusal("CELERY_BROKER_URL", url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://u:p@h/d?pgbouncer=true&schema=public", {"host": "h"}),
        ("postgres://u:@[::1]:7/d", {"host": "::1", "port": 7}),
        ("postgres://%2Frun%2Fpg/d", {"host": "/run/pg"}),
        ("postgres:///d?host=/run/pg&port=7", {"host": "/run/pg", "port": "7"}),
        ("postgres://h,i:7/d", {"host": "h,i", "port": ",7"}),
        ("postgres:///d?host=h:7&host=i", {"host": "h,i", "port": "7,"}),
        ("postgres:///d?host=h,i&port=7", {"host": "h,i", "port": "7,7"}),
        (
            "postgres://u:%40%2F%23%3A@h/d?sslmode=require&channel_binding=require",
            {"password": "@/#:", "sslmode": "require", "channel_binding": "require"},
        ),
        (
            "postgres://h/d?options=-c%20statement_timeout%3D5s&sslrootcert=system",
            {"options": "-c statement_timeout=5s", "sslrootcert": "system"},
        ),
    ],
)
def test_what_psycopg_is_given(url, expected):
    made = database_url.normalised(url)
    assert make_url(database_url.normalised(made)) == make_url(made)
    _, given = create_engine(made).dialect.create_connect_args(make_url(made))
    assert {name: given[name] for name in expected} == expected
    del given["context"]  # psycopg's own
    psycopg.conninfo.make_conninfo(**given)  # raises where libpq does not know one
    assert "pgbouncer" not in given


def test_libpq_knows_every_option_that_we_take():
    known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
    assert database_url._OPTIONS.keys() <= known


def test_the_hosts_that_make_run_asks():
    def hosts(url: str) -> list[tuple[str, int]]:
        return list(database_url.hosts_of(database_url.normalised(url)))

    assert hosts("postgres://h/d") == [("h", 5432)]
    assert hosts("postgres://h:7,i/d") == [("h", 7), ("i", 5432)]
    assert hosts("postgres:///d?host=/run/pg,i") == [("i", 5432)]
    assert hosts("postgres:///d") == hosts("sqlite:///x.db") == []


@pytest.mark.parametrize("word", ["CERT_NONE", "none", "None"])
def test_the_recipe_of_celery_and_that_of_redis_py_are_one(word):
    url = RedisUrl.parse(f"rediss://h?ssl_cert_reqs={word}")
    for verify in (True, False):
        assert url.tls_arguments(verify=verify) == {
            "ssl_cert_reqs": ssl.CERT_NONE,
            "ssl_check_hostname": False,
        }


def test_what_the_url_says_of_tls_counts_before_the_setting():
    plain = RedisUrl.parse("rediss+cluster://h,i")
    checked = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
    assert plain.tls_arguments(verify=True) == checked
    assert plain.tls_arguments(verify=False)["ssl_cert_reqs"] == ssl.CERT_NONE
    said = RedisUrl.parse("rediss+sentinel://h,i/n?ssl_cert_reqs=required")
    assert said.tls_arguments(verify=False) == checked
    assert RedisUrl.parse("redis://h").tls_arguments(verify=True) == {}


@pytest.mark.parametrize(
    ("url", "celerys"),
    [
        ("redis://h", "redis://h:6379/0"),
        ("REDIS://h?db=3", "redis://h:6379/3"),
        ("redis://u@h/1", "redis://u:@h:6379/1"),
        ("redis://u:@h", "redis://u:@h:6379/0"),
        ("rediss://:p%40%2F@[::1]:7/?db=1", "rediss://:p%40%2F@[::1]:7/1"),
        (
            "redis+sentinel://u@h,i:7/n/1",
            "sentinel://u:@h:26379/1;sentinel://u:@i:7/1",
        ),
    ],
)
def test_what_celery_is_given(url, celerys):
    assert RedisUrl.parse(url).for_celery() == celerys


@pytest.mark.integration
@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("DATABASE_URL", "postgres://u:hunter2@h/d?sslmode=no-verify"),
        ("REDIS_URL", "rediss://:hunter2@h?ssl_cert_reqs=never"),
    ],
)
def test_every_program_ends_with_that_line(variable, url, tmp_path):
    folder = Path(sys.executable).parent
    lines = [
        f"{folder}/{line}"
        for name, line in read_procfile(PROJECT_ROOT / "Procfile").items()
        if name in {"web", "worker", "beat"}
    ]
    lines.append(f"{folder}/flask --app wsgi token ann")
    if variable == "DATABASE_URL":
        lines.append(f"{sys.executable} -m alembic upgrade head")
    environ = {
        **os.environ,
        **NEEDED,
        "DATABASE_URL": f"sqlite:///{tmp_path}/x.db",
        variable: url,
    }
    started = [
        subprocess.Popen(
            line.split(),
            cwd=PROJECT_ROOT,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for line in lines
    ]
    expected = f"greendot: {refusal(variable, url)}\n"
    said = {
        " ".join(process.args): process.communicate(timeout=120) for process in started
    }
    assert said == dict.fromkeys(said, (expected, None))
    assert {process.returncode for process in started} <= {1, 3}


def test_the_docs_name_every_option():
    page = (PROJECT_ROOT / "docs" / "CONFIGURE.md").read_text()
    section = page.partition("## Options in the URLs\n")[2].partition("\n## ")[0]
    of_redis = {name for scheme in SCHEMES for name in redis_url._table(scheme)}
    of_database = database_url._OPTIONS | database_url._OF_OTHERS
    for name in {*of_redis, *of_database} - {"schema"}:
        assert f"`{name}`" in section, name
