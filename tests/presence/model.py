"""What the presence state should be, in plain Python: the contract, executable.

A *lease* is a connection with the deadline up to which it counts; one that was released
is a lease under another name, which nobody can renew.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from models.events import Status, Transition
from models.presence.store import ClosedConnection, LiveConnection

TTL = 60_000
OFFLINE_TTL = 600_000
GATEWAY_TTL = 15_000
MAX_CONNECTIONS = 3
REQUEST = 2_000
LEASE = 5_000
TURNS = 4
KEPT = 6 * TTL


@dataclass
class Model:
    """The state as it should be at `now` (ms)."""

    now: int
    leases: dict[str, dict[str, int]] = field(default_factory=dict)
    leases_until: dict[str, int] = field(default_factory=dict)
    left_at: dict[str, int] = field(default_factory=dict)
    """When the last lease was taken away; ahead where the clock stepped back."""
    watched: set[str] = field(default_factory=set)
    """Users with a deadline that a sweep will see."""
    online: set[str] = field(default_factory=set)
    newest: dict[str, int] = field(default_factory=dict)
    """The newest timestamp ever told of a user."""
    held: dict[str, set[str]] = field(default_factory=dict)
    gateways: dict[str, int] = field(default_factory=dict)
    drainer: tuple[str, int] | None = None
    made: list[Transition] = field(default_factory=list)
    """Transitions of the present call."""

    def set_now(self, now: int) -> None:
        self.now = now
        if self.drainer is not None and self.drainer[1] < now:
            self.drainer = None
        for user, until in list(self.leases_until.items()):
            if until < now:
                del self.leases_until[user]
                self.leases.pop(user, None)

    # Questions

    def is_live(self, user: str) -> bool:
        leases = self.leases.get(user, {})
        return max(leases.values(), default=self.left_at.get(user, 0)) > self.now

    def deadline(self, user: str) -> int:
        """When a sweep has to look at the user."""
        ends = self.leases.get(user, {}).values()
        return max(self.left_at.get(user, 0), *ends, 0)

    def open_here(self, user: str, gateway: str) -> list[str]:
        return [
            lease
            for lease in self.leases.get(user, {})
            if lease.startswith(gateway + ":") and not lease.endswith(":released")
        ]

    # Calls

    def connect(self, gateway: str, signs: list[LiveConnection]) -> set[str]:
        """The connections that are refused."""
        refused = set()
        for sign in signs:
            leases = self.leases.setdefault(sign.user_id, {})
            known = sign.connection_id in leases
            for lease in [lease for lease, end in leases.items() if end < self.now]:
                del leases[lease]
            count = sum(not lease.endswith(":released") for lease in leases)
            if not known and count >= MAX_CONNECTIONS:
                refused.add(sign.connection_id)
                continue
            self._renew(sign)
            self._keep(sign.user_id)
            self.watched.add(sign.user_id)
            self.held.setdefault(gateway, set()).add(sign.user_id)
            if sign.user_id not in self.online:
                self.online.add(sign.user_id)
                self._tell(sign.user_id, "online")
        return refused

    def heartbeat(
        self, gateway: str, signs: list[LiveConnection], last_deadline: int
    ) -> tuple[bool, list[LiveConnection]]:
        """Whether the gateway had lapsed, and the connections that are gone."""
        deadline = self.gateways.get(gateway, 0)
        lapsed = deadline <= self.now or last_deadline not in {0, deadline}
        if deadline < last_deadline:  # Redis has lost what it knew
            self.held.pop(gateway, None)
        self.gateways[gateway] = self.now + GATEWAY_TTL
        gone = []
        for sign in signs:
            known = sign.connection_id in self.leases.get(sign.user_id, {})
            if known and sign.user_id in self.online:
                self._renew(sign)
                if self._is_turn(sign.user_id):
                    self._keep(sign.user_id)
            else:
                gone.append(sign)
        # It has lost its users, and does not know it yet.
        lapsed |= len(gone) < len(signs) and not self.held.get(gateway)
        return lapsed, gone

    def release(self, gateway: str, departures: list[ClosedConnection]) -> int:
        """How many connections were there."""
        count = 0
        for gone in departures:
            leases = self.leases.get(gone.user_id, {})
            if leases.pop(gone.connection_id, None) is not None:
                count += 1
                if gone.grace_ms > 0:
                    end = self.now - gone.age_ms + gone.grace_ms
                    leases[gone.connection_id + ":released"] = end
                    self._keep(gone.user_id)
                self._one_less(gone.user_id)
            if not self.open_here(gone.user_id, gateway):
                self.held.get(gateway, set()).discard(gone.user_id)
        return count

    def expire(self, users: list[str]) -> None:
        for user in users:
            if self.is_live(user):
                self.watched.add(user)
                if self.leases.get(user):
                    self.left_at.pop(user, None)
                continue
            # A user taken out of the online set is still known by the other two.
            known = user in self.online or user in self.watched
            known |= bool(self.leases.pop(user, None))
            self.left_at.pop(user, None)
            self.watched.discard(user)
            self.online.discard(user)
            if known:
                self._tell(user, "offline")

    def reap(self, gateway: str) -> set[str]:
        """The users that a dead gateway held."""
        if self.gateways.get(gateway, 0) > self.now:
            return set()
        users = self.held.pop(gateway, set())
        for user in users:
            for lease in self.open_here(user, gateway):
                del self.leases[user][lease]
            if user in self.watched:
                self._one_less(user)
        self.gateways.pop(gateway, None)
        return users

    def sweep(self) -> None:
        for gateway in [g for g, end in self.gateways.items() if end <= self.now]:
            self.reap(gateway)
        known = sorted(set(self.leases) | self.online | self.watched)
        self.expire([user for user in known if self.deadline(user) <= self.now])

    # The outbox and its drainer

    def needs_drain(self) -> bool:
        """Whether the present call has to ask for a drain."""
        if not self.made or self._holder() is not None:
            return False
        self.drainer = ("requested", self.now + REQUEST)
        return True

    def hold(self, token: str) -> bool:
        if self._holder() not in {None, "requested", token}:
            return False
        self.drainer = (token, self.now + LEASE)
        return True

    def leave(self, token: str, *, is_empty: bool) -> bool:
        if self._holder() != token:
            return True
        if is_empty:
            self.drainer = None
        return is_empty

    def _holder(self) -> str | None:
        return None if self.drainer is None else self.drainer[0]

    def _renew(self, sign: LiveConnection) -> None:
        leases = self.leases.setdefault(sign.user_id, {})
        end = self.now - sign.age_ms + TTL
        leases[sign.connection_id] = max(end, leases.get(sign.connection_id, 0))

    def _keep(self, user: str) -> None:
        self.leases_until[user] = self.now + KEPT

    def _is_turn(self, user: str) -> bool:
        """Heartbeats let the leases of a user live on in one TTL of four."""
        return (ord(user[-1]) + self.now // TTL) % TURNS == 0

    def _one_less(self, user: str) -> None:
        self.watched.add(user)
        if self.leases.get(user):
            self.left_at.pop(user, None)
        else:
            self.left_at[user] = self.now

    def _tell(self, user: str, status: Status) -> None:
        timestamp = max(self.newest.get(user, 0) + 1, self.now)
        self.newest[user] = timestamp
        self.made.append(Transition(user, status, timestamp))
