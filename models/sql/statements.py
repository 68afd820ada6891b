"""SELECT statements whose text is sent directly to the database driver.

SQLAlchemy compiles a statement once per kind of database. Later calls skip the library:
its work around each execution takes several times as long as a small query, and each
status change waits for such a query. If the driver raises an error, SQLAlchemy executes
the statement again. So the library raises its own errors and drops dead connections.
`tests/sql/test_statements.py` compares the rows with the library's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import CompoundSelect, Connection, Dialect, Select
from sqlalchemy.orm import Session

Reader = Session | Connection
"""What executes a read: a session (in a transaction) or a connection (without one)."""
Row = Sequence[Any]


@dataclass(frozen=True, slots=True)
class _Text:
    """A statement in the form of one driver. `names` are the parameters in their order,
    or None if the driver takes them by name."""

    text: str
    names: tuple[str, ...] | None
    processors: Mapping[str, Callable[[Any], Any]]
    errors: type[Exception]

    def parameters(self, values: Mapping[str, object]) -> Any:  # noqa: ANN401
        bound = {
            name: self.processors[name](value) if name in self.processors else value
            for name, value in values.items()
        }
        if self.names is None:
            return bound
        return [bound[name] for name in self.names]


class Statement:
    """One SELECT with bind parameters. Each call gives all of them a value."""

    def __init__(
        self, select: Select[*tuple[Any, ...]] | CompoundSelect[*tuple[Any, ...]]
    ) -> None:
        self.select = select
        self._texts: dict[str, _Text] = {}

    def rows(self, reader: Reader, values: Mapping[str, object]) -> Sequence[Row]:
        """All rows of the result.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database did not answer, or refused.
        """
        if isinstance(reader, Session):  # it may have to flush writes first
            return reader.execute(self.select, values).all()
        dialect = reader.dialect
        known = self._texts.get(dialect.name) or self._write(dialect)
        try:
            return send(reader, known.text, known.parameters(values))
        except known.errors:
            # Again by the library: it raises its own errors and drops a dead
            # connection.
            return reader.execute(self.select, values).all()

    def _write(self, dialect: Dialect) -> _Text:
        compiled = self.select.compile(dialect=dialect)
        names = compiled.positiontup if compiled.positional else None
        processors = {
            name: processor
            for name, parameter in compiled.binds.items()
            if (
                processor := parameter.type.dialect_impl(dialect).bind_processor(
                    dialect
                )
            )
        }
        text = _Text(
            str(compiled),
            None if names is None else tuple(names),
            processors,
            dialect.loaded_dbapi.Error,
        )
        self._texts[dialect.name] = text
        return text


def send(connection: Connection, text: str, parameters: Any) -> Sequence[Row]:  # noqa: ANN401
    """The rows that the driver returns for `text`."""
    cursor = connection.connection.cursor()
    try:
        cursor.execute(text, parameters)
        rows: Sequence[Row] = cursor.fetchall()
        return rows
    finally:
        cursor.close()
