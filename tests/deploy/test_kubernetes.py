"""The manifests of deploy/kubernetes/, by Kubernetes' own schemas."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.dev.processes import read_procfile
from config import PROJECT_ROOT, Settings
from tests.deploy.proxies import program

FOLDER = PROJECT_ROOT / "deploy" / "kubernetes"
FILES = sorted(set(FOLDER.glob("*.yaml")) - {FOLDER / "kustomization.yaml"})


def objects(text: str) -> list[dict[str, Any]]:
    return [found for found in yaml.safe_load_all(text) if found]


def named(kind: str, name: str) -> dict[str, Any]:
    (found,) = (
        found
        for file in FILES
        for found in objects(file.read_text())
        if (found["kind"], found["metadata"]["name"]) == (kind, name)
    )
    return found


def pod(kind: str, name: str) -> dict[str, Any]:
    spec: dict[str, Any] = named(kind, name)["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_schemas_accept_the_objects(file):
    for found in objects(file.read_text()):
        kubernetes_validate.validate(found, "1.37", strict=True)


def test_kustomize_lists_every_file():
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    assert set(listed) == {file.name for file in FILES}


def test_kustomize_makes_valid_objects(tmp_path: Path):
    kubectl = program("kubectl", "KUBECTL")
    shutil.copytree(FOLDER, tmp_path / "k")
    shutil.copy(FOLDER / "secret.env.example", tmp_path / "k" / "secret.env")
    made = subprocess.run(
        [kubectl, "kustomize", tmp_path / "k"], check=True, capture_output=True
    )
    found = objects(made.stdout.decode())
    for each in found:
        kubernetes_validate.validate(each, "1.37", strict=True)
    assert {"ConfigMap", "Secret"} <= {each["kind"] for each in found}


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("web", "Deployment"),
        ("worker", "Deployment"),
        ("beat", "Deployment"),
        ("release", "Job"),
    ],
)
def test_the_commands_are_those_of_the_procfile(line, kind):
    (container,) = pod(kind, f"greendot-{line}")["containers"]
    procfile = read_procfile(PROJECT_ROOT / "Procfile")
    assert container["command"] == shlex.split(procfile[line])


def test_a_gateway_has_time_to_send_its_clients_away():
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    (generator,) = kustomization["configMapGenerator"]
    values = dict(text.split("=", 1) for text in generator["literals"])
    settings = Settings.from_env({"SECRET_KEY": "s" * 32, **values})
    spec = pod("Deployment", "greendot-web")
    (container,) = spec["containers"]
    before = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    needed = before + settings.drain_window + 5
    assert spec["terminationGracePeriodSeconds"] > needed


def test_the_ingress_opens_what_clients_call_and_no_more():
    text = (PROJECT_ROOT / "docs" / "PROTOCOL.md").read_text()
    routes = re.findall(r"^\| `[A-Z, ]+ (/[^`?]*)", text, re.MULTILINE)
    (rule,) = named("Ingress", "greendot")["spec"]["rules"]
    exact = {p["path"] for p in rule["http"]["paths"] if p["pathType"] == "Exact"}
    below = {p["path"] for p in rule["http"]["paths"] if p["pathType"] == "Prefix"}

    def is_open(route: str) -> bool:
        return route in exact or any(f"{route}/".startswith(f"{b}/") for b in below)

    for_clients = {r for r in routes if r.startswith(("/api/", "/ws"))}
    for_clients -= {r for r in routes if r.startswith("/api/admin")}
    assert {route for route in routes if is_open(route)} == for_clients
    assert len(for_clients) >= 6
