"""What the browser tests need beside Python: a browser, and packages from npm, which
are installed once, from the lock file beside this."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

from config import PROJECT_ROOT
from tests.needs import missing

HERE = Path(__file__).parent
PACKAGE = PROJECT_ROOT / "app" / "static" / "greendot"


def npm(*arguments: str, folder: Path = HERE) -> str:
    """Run npm; skips the test where there is none."""
    command = shutil.which("npm")
    if command is None:
        missing("npm", "BROWSER")
    done = subprocess.run(
        [command, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def node_modules(folder: Path = HERE) -> Path:
    """The folder of the installed packages; installs them where they are not there or
    older than the lock file."""
    installed = folder / "node_modules"
    stamp = installed / ".package-lock.json"
    lock = folder / "package-lock.json"
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # tests in several processes need them
        if not stamp.exists() or stamp.stat().st_mtime < lock.stat().st_mtime:
            npm("ci", "--no-audit", "--no-fund", folder=folder)
    return installed


def install_client(into: Path, folder: Path) -> Path:
    """Install the client, as `npm pack` makes it in the empty `folder`, beside the
    packages of `into`. Returns where they are."""
    modules = node_modules(into)
    npm("pack", "--pack-destination", str(folder), folder=PACKAGE)
    (packed,) = folder.iterdir()
    npm("install", "--no-save", "--no-package-lock", str(packed), folder=into)
    return modules
