"""`python -m app.dev` is `make run`."""

from __future__ import annotations

import sys

from app.dev.local import main

sys.exit(main(sys.argv[1:]))
