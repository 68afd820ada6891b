"""Autobahn's WebSocket test suite against our connection: `make autobahn`.

The suite (autobahntestsuite on PyPI) needs a Python 2.7, which few systems have: it is
looked for as PYTHON2, on PATH, and among the versions of pyenv. The suite goes into
var/autobahn, and its report into var/autobahn/report.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from config import PROJECT_ROOT
from tests.gateway.echo import PATH, serving

SUITE = "autobahntestsuite==25.10.1"
SECTIONS = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"]
"""All but 12 and 13, which are about compression: we have none."""
FOLDER = PROJECT_ROOT / "var" / "autobahn"
PASSED = {"OK", "INFORMATIONAL"}


def python2() -> str | None:
    """A Python 2.7, where there is one."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for candidate in (
        os.environ.get("PYTHON2"),
        shutil.which("python2.7"),
        *map(str, sorted(pyenv.glob("versions/2.7*/bin/python2.7"))),
    ):
        if candidate and _says_2_7(candidate):
            return candidate
    return None


def _says_2_7(python: str) -> bool:
    """A shim may be there without the Python that it stands for."""
    asked = subprocess.run(
        [python, "-c", "import sys; print(sys.version_info[:2] == (2, 7))"],
        capture_output=True,
        check=False,
    )
    return asked.stdout.strip() == b"True"


def run(python: str, sections: list[str]) -> dict[str, str]:
    """How each case ended, by its number."""
    suite, report = FOLDER / "suite", FOLDER / "report"
    if not (suite / "autobahntestsuite").exists():
        print(f"Installing {SUITE} into {suite}", flush=True)
        install = [python, "-m", "pip", "install", "--quiet", "--target", str(suite)]
        subprocess.run([*install, SUITE], check=True)
    shutil.rmtree(report, ignore_errors=True)
    with serving() as port:
        spec = {
            "outdir": str(report),
            "servers": [{"agent": "greendot", "url": f"ws://127.0.0.1:{port}{PATH}"}],
            "cases": sections,
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        (FOLDER / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
        # Packages of a namespace (zope) are found by .pth files, as of a site only.
        wstest = (
            f"import site; site.addsitedir({str(suite)!r}); "
            "from autobahntestsuite.wstest import run; run()"
        )
        subprocess.run(
            [
                *(python, "-c", wstest),
                *("--mode", "fuzzingclient", "--spec", str(FOLDER / "spec.json")),
            ],
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            cwd=FOLDER,
            check=True,
        )
    index = json.loads((report / "index.json").read_text(encoding="utf-8"))
    return {
        case: _outcome(result["behavior"], result["behaviorClose"])
        for case, result in index["greendot"].items()
    }


def _outcome(*behaviors: str) -> str:
    return next((one for one in behaviors if one not in PASSED), behaviors[0])


def main() -> int:
    """Run the sections that are named, or all; 1 where a case did not pass."""
    python = python2()
    if python is None:
        print(
            "Autobahn's suite needs a Python 2.7: name one, PYTHON2=/path/to/python2.7"
        )
        return 2
    FOLDER.mkdir(parents=True, exist_ok=True)
    outcomes = run(python, sys.argv[1:] or SECTIONS)
    failed = {case: how for case, how in outcomes.items() if how not in PASSED}
    for case, how in failed.items():
        print(f"{case}: {how}")
    counted = Counter(outcomes.values())
    print(", ".join(f"{count} {how}" for how, count in sorted(counted.items())))
    print(f"report: {FOLDER / 'report' / 'index.html'}")
    return 1 if failed or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
