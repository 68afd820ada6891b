"""A release sets every version, builds every package and says which commit it is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from config import PROJECT_ROOT
from tests.needs import missing

VERSION = "97.0.1"


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository of its own with the files as they are here."""
    if shutil.which("npm") is None:
        missing("npm", "BROWSER")
    folder = tmp_path / "project"
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        check=False,
    )
    if names.returncode:
        missing("git's list of the files", "HISTORY")
    for name in filter(None, names.stdout.decode().split("\0")):
        if (source := PROJECT_ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    git(tmp_path, "init", "--quiet", str(folder))
    git(folder, "config", "user.name", "A test")
    git(folder, "config", "user.email", "test@example.com")
    changelog = folder / "CHANGELOG.md"
    section = f"## [{VERSION}] - unreleased\n\n- Something new.\n\n"
    changelog.write_text(changelog.read_text().replace("## [", section + "## [", 1))
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "All of it")
    return folder


def release(project: Path, version: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.release", version],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_release_is_complete(project):
    done = release(project, VERSION)
    assert done.returncode == 0, done.stderr
    assert git(project, "status", "--porcelain", "--ignored").split() == [
        "!!",
        "deploy/__pycache__/",
        "!!",
        "dist/",
    ]
    heading = re.search(
        r"^## .*$", (project / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    tagged = git(project, "rev-list", "-n", "1", f"v{VERSION}")[:7]
    today = git(project, "log", "-1", "--date=format:%Y-%m-%d", "--format=%cd").strip()
    assert heading is not None
    assert heading[0] == f"## [{VERSION}] - {today} (commit {tagged})"
    dist = project / "dist"
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        metadata = f"greendot_client-{VERSION}.dist-info/METADATA"
        assert f"Version: {VERSION}\n" in files.read(metadata).decode()
    (tarball,) = dist.glob("*.tgz")
    with tarfile.open(tarball) as archive:
        package = archive.extractfile("package/package.json")
        assert package is not None
        assert f'"version": "{VERSION}"' in package.read().decode()
    released = git(project, "grep", "--files-with-matches", "--fixed-strings", VERSION)
    assert released.split() == [
        "CHANGELOG.md",
        "app/static/greendot/package.json",
        "clients/python/pyproject.toml",
        "deploy/kubernetes/kustomization.yaml",
        "docs/asyncapi.yaml",
        "examples/hosts/package-lock.json",
        "examples/react/package-lock.json",
        "pyproject.toml",
        "tests/test_release.py",
    ]


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("1.2", "name the new version"),
        ("97.0.2", "the first section of CHANGELOG.md must be [97.0.2]"),
    ],
)
def test_a_release_that_cannot_be_made_changes_nothing(project, version, reason):
    done = release(project, version)
    assert done.returncode == 1
    assert reason in done.stderr
    assert not git(project, "status", "--porcelain")


def test_a_tag_that_exists_needs_another_version(project):
    git(project, "tag", f"v{VERSION}")
    done = release(project, VERSION)
    assert done.returncode == 1
    assert f"the tag v{VERSION} exists already: choose another version" in done.stderr
    assert not git(project, "status", "--porcelain")


def test_a_failed_build_says_how_to_undo_the_changes(project, tmp_path, monkeypatch):
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text("#!/bin/sh\necho no space left >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}:{os.environ['PATH']}")
    done = release(project, VERSION)
    assert done.returncode == 1
    assert "no space left" in done.stderr
    assert done.stderr.endswith("Undo the changes of the files with: git checkout .\n")
    git(project, "checkout", ".")
    assert not git(project, "status", "--porcelain")


def test_a_release_needs_a_clean_tree(project):
    (project / "README.md").write_text("changed")
    done = release(project, VERSION)
    assert "these changes are not committed" in done.stderr
    assert git(project, "status", "--porcelain") == " M README.md\n"
