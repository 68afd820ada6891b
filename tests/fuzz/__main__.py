"""`python -m tests.fuzz --minutes M --seed N`: call a running Greendot in all ways that
its OpenAPI document describes, and in wrong ones. If an answer is not as described, the
exit code is 1."""

from __future__ import annotations

import argparse
import random
import sys
from contextlib import closing

from tests.fuzz.run import ENVIRON, faults_in_logs, schemathesis
from tests.system import System


def main() -> int:
    """Run it, and print the report."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(10**6)
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    asked = parser.parse_args()
    with closing(System(webs=1, **ENVIRON)) as system:
        system.start()
        sys.stdout.write(f"seed {asked.seed}, logs in {system.folder}\n")
        sys.stdout.flush()
        seconds = str(max(1, round(asked.minutes * 60)))
        done = schemathesis(system, "--max-time", seconds, seed=asked.seed)
        faults = faults_in_logs(system)
        sys.stdout.writelines(f"{line}\n" for line in faults)
    return 1 if faults or done.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
