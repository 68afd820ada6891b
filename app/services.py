"""The parts of one web process, where every request finds them."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from app.gateway.gateway import Gateway
from app.limits import Limits
from app.new_users import NewUsers
from app.tokens import Tokens
from config import Settings
from models.presence import Presence
from models.visibility_updater import VisibilityUpdater

EXTENSION = "greendot"


@dataclass(frozen=True, slots=True)
class Services:
    """The parts that requests use."""

    settings: Settings
    sessions: sessionmaker[Session]
    """Transactions that write to the database."""
    database: Engine
    """Connections for reading, with one statement per transaction."""
    presence: Presence
    gateway: Gateway
    limits: Limits
    tokens: Tokens
    """Reads the users' tokens."""
    visibility: VisibilityUpdater
    """Changes who sees whom."""
    new_users: NewUsers
    """Stores users who connect before the host application has created them."""


def services() -> Services:
    """The services of the current application."""
    found: Services = current_app.extensions[EXTENSION]
    return found
