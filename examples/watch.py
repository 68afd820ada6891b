"""Print which friends are online, then each change: python watch.py URL TOKEN."""
# ruff: noqa: T201 - a script that prints

import sys

from greendot_client import Denied, Presence

try:
    with Presence(sys.argv[1], sys.argv[2]) as presence:
        print("online:", ", ".join(sorted(presence.online)) or "nobody", flush=True)
        for change in presence.changes():
            status = "online" if change.online else "offline"
            print(change.user_id, "is", status, flush=True)
except (Denied, ValueError) as error:
    sys.exit(str(error))
except KeyboardInterrupt:
    pass
