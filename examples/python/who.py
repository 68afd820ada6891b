"""Print who is online, and who comes and goes: python who.py URL TOKEN."""
# ruff: noqa: INP001, T201 - a script that prints

import sys

from greendot import Denied, Presence

try:
    with Presence(sys.argv[1], sys.argv[2]) as presence:
        print("online:", ", ".join(sorted(presence.online)) or "nobody", flush=True)
        for change in presence.changes():
            print(change.user_id, "came" if change.online else "went", flush=True)
except (Denied, ValueError) as error:
    sys.exit(str(error))
except KeyboardInterrupt:
    pass
