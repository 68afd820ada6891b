"""What one web process works with, in one place for every request."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from app.api.coalescing import Hydration
from app.gateway.gateway import Gateway
from app.gateway.new_users import Newcomers
from config import Settings
from models.presence import Presence

EXTENSION = "greendot"


@dataclass(frozen=True, slots=True)
class Services:
    """The parts that requests use. `sessions` write to the database, in transactions;
    a connection of `database` reads, one statement each. `newcomers` stores users who
    come before the host has named them. `friends` and `partners` are
    the status maps of friends and of conversation partners."""

    settings: Settings
    sessions: sessionmaker[Session]
    database: Engine
    presence: Presence
    gateway: Gateway
    newcomers: Newcomers
    friends: Hydration
    partners: Hydration


def services() -> Services:
    """The services of the current application."""
    found: Services = current_app.extensions[EXTENSION]
    return found
