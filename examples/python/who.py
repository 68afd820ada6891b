"""Print who is online, and who comes and goes: python who.py URL TOKEN."""
# ruff: noqa: INP001, T201 - a script that prints

import sys

from greendot import Presence

with Presence(sys.argv[1], sys.argv[2]) as presence:
    print("online:", ", ".join(sorted(presence.online)) or "nobody")
    for change in presence.changes():
        print(change.user_id, "came" if change.online else "went", flush=True)
