"""The version of Greendot is that of pyproject.toml. Other files repeat it."""

from __future__ import annotations

import json
import re
import tomllib

from config import PROJECT_ROOT

PYPROJECT = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())
VERSION = PYPROJECT["project"]["version"]


def test_the_npm_package_has_the_same_version():
    package = PROJECT_ROOT / "app" / "static" / "greendot" / "package.json"
    assert json.loads(package.read_text())["version"] == VERSION


def test_the_newest_section_of_the_changelog_is_that_version():
    changelog = (PROJECT_ROOT / "CHANGELOG.md").read_text()
    sections = re.findall(r"^## \[(.+?)\]", changelog, re.MULTILINE)
    assert VERSION in sections[:2]  # "Unreleased" may stand above it
