"""The errors of the presence state.

PresenceError
├── PresenceUnavailable    Redis did not answer, or cannot serve now
└── CommandRefused         Redis answered a command with an error of another kind
"""

from __future__ import annotations


class PresenceError(Exception):
    """Base of all errors that `models.presence` raises."""


class PresenceUnavailable(PresenceError):
    """Redis cannot be reached or cannot serve now. Retrying later is safe: every
    operation of the store may be repeated."""


class CommandRefused(PresenceError):
    """Redis refused a command. The usual reason: another program has stored a value of
    another type under one of our keys. Commands of the same round trip may have run."""
