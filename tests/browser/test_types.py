"""The client's JSDoc types hold: tsc --checkJs --strict over everything we serve."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.browser.needed import node_modules

HERE = Path(__file__).parent


def test_the_types_hold_strictly():
    tsc = node_modules() / ".bin" / "tsc"
    checked = subprocess.run(
        [tsc, "--project", HERE, "--pretty", "false"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.slow
def test_the_check_sees_a_mistake(tmp_path):
    """A type check that passes everything is none."""
    tsc = node_modules() / ".bin" / "tsc"
    bad = tmp_path / "bad.js"
    client = HERE.parent.parent / "app" / "static" / "greendot" / "index.js"
    bad.write_text(
        f'import {{ createPresenceClient }} from "{client}";\n'
        "createPresenceClient({ token: 1 });\n"
    )
    shutil.copy(HERE / "tsconfig.json", tmp_path / "base.json")
    config = tmp_path / "tsconfig.json"
    config.write_text('{"extends": "./base.json", "include": ["bad.js"]}')
    checked = subprocess.run(
        [tsc, "--project", tmp_path, "--pretty", "false"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "bad.js(2," in checked.stdout


pytestmark = pytest.mark.timeout(300)
