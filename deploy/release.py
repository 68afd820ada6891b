"""Makes a release: `make release VERSION=x.y.z`, which runs all checks first.

It sets the version everywhere, gives the section of the changelog its date, and builds
the packages into dist/. Then it commits and tags. A commit cannot contain its own hash,
so a second commit writes it into the changelog. The upgrade test
(`tests/chaos/test_upgrade.py`) reads it there to find the previous release.

Nothing is published. The last lines say what to do for that.
"""

from __future__ import annotations

import datetime as dt
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
DIST = ROOT / "dist"
CHANGELOG = ROOT / "CHANGELOG.md"
NUMBER = r"\d+\.\d+\.\d+"
VERSIONS = {
    "pyproject.toml": rf'^version = "({NUMBER})"',
    "clients/python/pyproject.toml": rf'^version = "({NUMBER})"',
    "app/static/greendot/package.json": rf'^  "version": "({NUMBER})"',
    "docs/asyncapi.yaml": rf"^  version: ({NUMBER})",
    "deploy/kubernetes/kustomization.yaml": rf'^    newTag: "({NUMBER})"',
    "examples/react/package-lock.json": rf'client": {{\s+"version": "({NUMBER})"',
    "examples/hosts/package-lock.json": rf'client": {{\s+"version": "({NUMBER})"',
}
"""Files that contain the version, each with an expression that matches once in it."""
UV = Path(sys.executable).parent / "uv"


class NoRelease(Exception):
    """The release cannot be made; the message says what to do."""


def main() -> None:
    """Make the release that the command line names."""
    try:
        version = _new_version(sys.argv[1:])
        _check_state(version)
        heading = _prepare(version)
        commit = _commit(version, heading)
    except NoRelease as error:
        sys.exit(f"No release: {error}")
    sys.stdout.write(
        f"Release {version} is commit {commit}, and its packages are in dist/.\n"
        f"To publish it:\n"
        f"  git push origin HEAD v{version}\n"
        f"  uv publish dist/greendot_client-{version}*\n"
        f"  npm publish dist/greendot-client-{version}.tgz\n"
    )


def _new_version(arguments: list[str]) -> str:
    if len(arguments) != 1 or not re.fullmatch(NUMBER, arguments[0]):
        message = "name the new version, like make release VERSION=1.2.3"
        raise NoRelease(message)
    return arguments[0]


def _check_state(version: str) -> None:
    """Check what can be checked before any file is changed."""
    for program in ("git", "npm"):
        if shutil.which(program) is None:
            message = f"{program} is missing: install it"
            raise NoRelease(message)
    if shutil.which(UV) is None:
        message = f"{UV} is missing: install requirements-dev.txt"
        raise NoRelease(message)
    if changes := _run("git", "status", "--porcelain"):
        message = f"these changes are not committed, commit or stash them:\n{changes}"
        raise NoRelease(message)
    if _run("git", "tag", "--list", f"v{version}"):
        message = f"the tag v{version} exists already: choose another version"
        raise NoRelease(message)
    text = CHANGELOG.read_text(encoding="utf-8")
    newest = re.search(r"^## .*\n([\s\S]*?)(?=^## |\Z)", text, re.MULTILINE)
    if newest is None or not newest[0].startswith(_heading(version, "unreleased")):
        message = f"the first section of CHANGELOG.md must be [{version}] - unreleased"
        raise NoRelease(message)
    if not newest[1].strip():
        message = f"the section [{version}] of CHANGELOG.md is empty: list the changes"
        raise NoRelease(message)
    for name, expression in VERSIONS.items():
        found = re.findall(expression, (ROOT / name).read_text(), re.MULTILINE)
        if len(found) != 1:
            message = (
                f"{name} has {len(found)} versions where one is expected: correct "
                "VERSIONS in deploy/release.py"
            )
            raise NoRelease(message)


def _prepare(version: str) -> str:
    """Set the version, date the changelog and build. Returns the new heading."""
    try:
        _set_versions(version)
        heading = _date_the_changelog(version)
        _build(version)
    except NoRelease as error:
        message = f"{error}\nUndo the changes of the files with: git checkout ."
        raise NoRelease(message) from error
    return heading


def _set_versions(version: str) -> None:
    for name, expression in VERSIONS.items():
        file = ROOT / name
        text = file.read_text(encoding="utf-8")
        match = re.search(expression, text, re.MULTILINE)
        assert match is not None  # noqa: S101 - `_check_state` has found it
        start, end = match.span(1)
        file.write_text(text[:start] + version + text[end:], encoding="utf-8")


def _heading(version: str, state: str) -> str:
    return f"## [{version}] - {state}\n"


def _date_the_changelog(version: str) -> str:
    """Give the section its date, and return its new heading."""
    today = dt.datetime.now(dt.UTC).date().isoformat()
    heading = _heading(version, today)
    _replace_in_changelog(_heading(version, "unreleased"), heading)
    return heading


def _replace_in_changelog(old: str, new: str) -> None:
    text = CHANGELOG.read_text(encoding="utf-8")
    CHANGELOG.write_text(text.replace(old, new, 1), encoding="utf-8")


def _build(version: str) -> None:
    """Wheel, sdist and npm tarball, into an empty dist/."""
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    # uv brings the build backend along: nothing is downloaded.
    _run(str(UV), "build", "--offline", "--out-dir", str(DIST), "clients/python")
    (DIST / ".gitignore").unlink(missing_ok=True)
    _run("npm", "pack", "--pack-destination", str(DIST), "./app/static/greendot")
    built = sorted(file.name for file in DIST.iterdir())
    expected = [
        f"greendot-client-{version}.tgz",
        f"greendot_client-{version}-py3-none-any.whl",
        f"greendot_client-{version}.tar.gz",
    ]
    if built != expected:
        message = f"dist/ has {built}, not {expected}"
        raise NoRelease(message)


def _commit(version: str, heading: str) -> str:
    """Commit and tag the release. Returns the short hash of its commit."""
    _run("git", "commit", "--all", "--message", f"Release {version}")
    commit = _run("git", "rev-parse", "--short=7", "HEAD")
    message = f"Greendot {version}"
    _run("git", "tag", "--annotate", f"v{version}", "--message", message)
    named = heading.rstrip("\n") + f" (commit {commit})\n"
    _replace_in_changelog(heading, named)
    _run("git", "commit", "--all", "--message", f"Name the commit of {version}")
    return commit


def _run(*command: str) -> str:
    """Run a command in the project's folder. Returns what it printed.

    Raises:
        NoRelease: it failed.
    """
    done = subprocess.run(  # noqa: S603 - our own commands
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        message = f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}"
        raise NoRelease(message)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
