"""Reports to Redis which of a session's connections are idle.

With `activity`, a client says that its user is idle at this device, or active again.
The session notes the connection, and this loop reports all noted connections in one
call. A connection that Redis has lost is reported when it is registered again.
"""

from __future__ import annotations

from app.gateway.shard_session import ShardSession


class Activities:
    """The loop that reports the activity of one session's connections."""

    def __init__(self, session: ShardSession) -> None:
        self._session = session

    def step(self) -> None:
        """Wait for a change, and report it to Redis.

        Raises:
            PresenceUnavailable: Redis is down. The next step reports the same again.
        """
        session = self._session
        if not session.changed_activity:
            session.has_changed_activity.wait()
        session.has_changed_activity.clear()
        changed, session.changed_activity = session.changed_activity, {}
        try:
            needs_drain = session.shard.store.activity(
                session.as_live(list(changed.values()))
            )
        except BaseException:
            still_here = {
                connection_id: connection
                for connection_id, connection in changed.items()
                if session.hub.get(connection_id) is not None
            }
            session.changed_activity = {**still_here, **session.changed_activity}
            raise
        if needs_drain:
            session.request_drain()
