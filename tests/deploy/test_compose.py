"""deploy/compose.yaml, and the script that makes its secrets."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose

from app.server.capacity import needed_files
from config import PROJECT_ROOT, Settings
from tests.deploy.proxies import Proxy, certificate, program

DEPLOY = PROJECT_ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]


def validate(compose: object) -> None:
    """Raises ValueError if it breaks the Compose Specification. YAML's merge keys
    (`<<`) are resolved, because the parser does not know them."""
    PyCompose.from_yaml(yaml.safe_dump(compose))


def test_the_file_keeps_to_the_specification():
    validate(COMPOSE)


@pytest.mark.parametrize(
    "wrong", [{"stop_grace_perod": "30s"}, {"healthcheck": {"interval": "5x"}}]
)
def test_the_parser_finds_what_is_wrong(wrong):
    with pytest.raises(ValueError, match=re.escape(next(iter(wrong)))):
        validate({"services": {"web": {"image": "greendot", **wrong}}})


def test_everything_waits_for_the_migration():
    for name in ("web1", "web2", "worker", "beat"):
        condition = SERVICES[name]["depends_on"]["release"]["condition"]
        assert condition == "service_completed_successfully"


def test_valkey_deletes_nothing_and_keeps_its_data():
    command = SERVICES["valkey"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--appendonly"] == "yes"


@pytest.mark.parametrize("name", ["web1", "web2"])
def test_a_gateway_has_files_and_time(name):
    settings = Settings.from_env({"SECRET_KEY": "s" * 32})
    assert SERVICES[name]["ulimits"]["nofile"] >= needed_files(settings)
    seconds = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
    assert seconds > settings.drain_window + 5


def test_the_settings_are_settings():
    environment = SERVICES["web1"]["environment"]
    text = (PROJECT_ROOT / "docs" / "CONFIGURE.md").read_text()
    known = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert set(environment) - known == {"FORWARDED_ALLOW_IPS"}


def test_nginx_accepts_its_file_as_compose_changes_it(tmp_path: Path):
    proxy = Proxy("nginx", tmp_path, [8000, 8001])  # for its certificate
    chain, key = certificate(tmp_path)
    script = SERVICES["nginx"]["command"][2]
    for old, new in {
        "/etc/nginx/greendot.conf": str(DEPLOY / "nginx.conf"),
        "/etc/nginx/nginx.conf": str(proxy.config),
        "exec nginx": "exit 0; exec nginx",
    }.items():
        assert old in script
        script = script.replace(old, new)
    subprocess.run(["sh", "-ec", script], check=True)
    text = proxy.config.read_text()
    gateways = {SERVICES[name]["networks"]["inside"]["ipv4_address"] for name in WEBS}
    assert set(re.findall(r"server ([\d.]+):8000 ", text)) == gateways
    for old, new in {
        "/etc/ssl/greendot/fullchain.pem": str(chain),
        "/etc/ssl/greendot/privkey.pem": str(key),
        "/run/nginx.pid": str(tmp_path / "pid"),
    }.items():
        text = text.replace(old, new)
    proxy.config.write_text(text)
    checked = proxy.check()
    assert checked.returncode == 0, checked.stdout


WEBS = ("web1", "web2")


def test_the_script_makes_all_secrets_and_changes_none(tmp_path: Path):
    program("openssl")
    script = tmp_path / "make-env.sh"
    shutil.copy(DEPLOY / script.name, script)
    subprocess.run([script], check=True, capture_output=True)
    file = tmp_path / ".env"
    made = file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    lines = [line for line in made.splitlines() if not line.startswith("#")]
    values = dict(line.split("=", 1) for line in lines)
    used = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
    assert set(values) == used
    given = SERVICES["web1"]["environment"]
    # Compose's own `${NAME:?message}` and `${NAME:-default}`.
    filled = {
        name: re.sub(r"\$\{(\w+)[^}]*\}", lambda match: values[match[1]], text)
        for name, text in given.items()
        if name != "FORWARDED_ALLOW_IPS"
    }
    assert Settings.from_env(filled).trusted_proxies == 1
    chain = (tmp_path / "certs" / "fullchain.pem").read_text()
    subprocess.run([script], check=True, capture_output=True)
    assert file.read_text() == made
    assert (tmp_path / "certs" / "fullchain.pem").read_text() == chain
