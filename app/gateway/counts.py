"""What one gateway process has done so far, as plain numbers.

Whoever does something adds to a number here, once per batch where there are batches.
`figures` carries the numbers to /metrics once a second: so counting costs the sockets
nothing that one could measure.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

BY_CLIENT = "client"
"""In place of a close code: the client sent a close frame of its own."""
LOST = "lost"
"""In place of a close code: the socket ended without a close frame."""


@dataclass(slots=True)
class Counts:
    """The numbers of one gateway process. All but the last three only grow."""

    handshakes: int = 0
    """WebSocket handshakes answered, those refused afterwards included."""
    frames: int = 0
    """Frames that clients sent."""
    heartbeats: int = 0
    notifications: int = 0
    """Status changes handed to a connection."""
    snapshots: int = 0
    lapses: int = 0
    """Times that Redis had lost this gateway while it held connections."""
    registered_anew: int = 0
    """Connections that Redis had lost, and that were registered anew."""
    closes: Counter[str] = field(default_factory=Counter)
    """Ends of connections: by close code, BY_CLIENT or LOST."""
    sockets: int = 0
    """WebSockets now, those that are being refused or closed included."""
    queuing: int = 0
    """Sockets that could not take all at once, now."""
    queued_bytes: int = 0
    """What waits for them."""
