"""Encrypted lines to Redis, as both of those have them who read the URL: redis-py for
the presence state, Celery for its messages."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from kombu import Connection

from config import Settings
from models.presence import Presence, PresenceUnavailable
from models.presence.redis.client import connect
from tasks.celery_app import _celery_settings
from tests.needs import missing
from tests.servers import RedisServer, free_port, server_command

pytestmark = pytest.mark.integration

PASSWORD = "p@/#:% ü"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA of its own (ca), a server at 127.0.0.1 (server), and a client (client)."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(
            ["openssl", *arguments], cwd=folder, check=True, capture_output=True
        )

    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    keys = ("-nodes", "-days", "2", "-keyout")
    openssl(*new, *keys, "ca.key", "-out", "ca.pem", "-subj", "/CN=ca")
    for name in ("server", "client"):
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-subj", f"/CN={name}")
        alternative = ("-addext", "subjectAltName=IP:127.0.0.1")
        constraint = ("-addext", "basicConstraints=critical,CA:FALSE")
        out = (*keys, f"{name}.key", "-out", f"{name}.pem")
        openssl(*new, *out, *signed, *alternative, *constraint)
    both = [(folder / f"client.{end}").read_text() for end in ("pem", "key")]
    (folder / "client-and-key.pem").write_text("".join(both))
    return folder


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[int]:
    """The port of a server with TLS and a password. Valkey's wheel knows no TLS."""
    binary = server_command("redis")
    if binary is None:
        missing("redis-server", "REDIS")
    port = free_port()
    server = RedisServer(
        binary,
        *("--tls-port", str(port), "--tls-auth-clients", "optional"),
        *("--tls-cert-file", str(folder / "server.pem")),
        *("--tls-key-file", str(folder / "server.key")),
        *("--tls-ca-cert-file", str(folder / "ca.pem")),
    )
    server.start()
    with server.client() as client:
        client.config_set("requirepass", PASSWORD)
        yield port
    server.close()


def settings(url: str, **environ: str) -> Settings:
    return Settings.from_env(
        {"PRESENCE_JWT_SECRET": "s" * 32, "REDIS_URL": url, **environ}
    )


def ask_both(values: Settings) -> None:
    Presence.open(values).online(["ann"])
    ask_broker(values)


def ask_broker(values: Settings) -> None:
    conf = _celery_settings(values)
    broker = Connection(
        conf["broker_write_url"],
        ssl=conf["broker_use_ssl"],
        transport_options=conf["broker_transport_options"],
    )
    with broker:
        broker.connect()  # fails at once, where a channel would try again
        broker.default_channel.client.ping()


@pytest.mark.parametrize(
    ("host", "options"),
    [
        ("127.0.0.1", "ssl_cert_reqs=CERT_NONE"),
        ("127.0.0.1", "ssl_cert_reqs=none"),
        ("127.0.0.1", "ssl_ca_certs={folder}/ca.pem&db=3"),
        ("127.0.0.1", "ssl_ca_certs={folder}/ca.pem&ssl_cert_reqs=CERT_REQUIRED"),
        ("localhost", "ssl_ca_certs={folder}/ca.pem&ssl_check_hostname=False"),
        (
            "127.0.0.1",
            "ssl_ca_certs={folder}/ca.pem&ssl_certfile={folder}/client-and-key.pem",
        ),
    ],
)
def test_both_are_let_in(port, folder, host, options):
    url = f"rediss://:{quote(PASSWORD, safe='')}@{host}:{port}"
    ask_both(settings(f"{url}?{options.format(folder=folder)}"))


def test_the_setting_for_self_signed_certificates(port):
    url = f"rediss://:{quote(PASSWORD, safe='')}@127.0.0.1:{port}"
    ask_both(settings(url, PRESENCE_REDIS_TLS_VERIFY="0"))


@pytest.mark.parametrize(
    ("host", "options"),
    [("127.0.0.1", ""), ("localhost", "?ssl_ca_certs={folder}/ca.pem")],
    ids=["not ours", "another name"],
)
def test_both_look_at_the_certificate(port, folder, host, options):
    url = f"rediss://:{quote(PASSWORD, safe='')}@{host}:{port}"
    values = settings(url + options.format(folder=folder))
    with pytest.raises(PresenceUnavailable, match="certificate"):
        Presence.open(values).online(["ann"])
    with pytest.raises(Exception, match="certificate"):
        ask_broker(values)


def test_a_client_certificate_is_shown(port, folder):
    url = f"rediss://:{quote(PASSWORD, safe='')}@127.0.0.1:{port}"
    trusted = f"{url}?ssl_ca_certs={folder}/ca.pem"
    shown = f"{trusted}&ssl_certfile={folder}/client.pem"
    shown += f"&ssl_keyfile={folder}/client.key"
    values = settings(shown)
    with connect(values) as client:
        client.config_set("tls-auth-clients", "yes")
        try:
            ask_both(values)
            with pytest.raises(PresenceUnavailable):
                Presence.open(settings(trusted)).online(["ann"])
        finally:
            client.config_set("tls-auth-clients", "optional")
