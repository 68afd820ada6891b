"""Reading statements that are sent as they are.

SQLAlchemy writes a statement once for each kind of database. From then on its text goes
straight to the driver: what the library does around each execution takes several times
as long as a small query, and a change waits for one on its way to its audience.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import CompoundSelect, Connection, Dialect, Select
from sqlalchemy.orm import Session

Reader = Session | Connection
"""What can be read with: within a transaction or without one."""
Row = Sequence[Any]


@dataclass(frozen=True, slots=True)
class _Text:
    """A statement as one kind of driver takes it. `names` are those of its parameters
    in their order; None where they go by name."""

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
    """One SELECT with bind parameters, all of which get a value at each call."""

    def __init__(
        self, select: Select[*tuple[Any, ...]] | CompoundSelect[*tuple[Any, ...]]
    ) -> None:
        self.select = select
        self._texts: dict[str, _Text] = {}

    def rows(self, reader: Reader, values: Mapping[str, object]) -> Sequence[Row]:
        """All rows.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database did not answer, or refused.
        """
        if isinstance(reader, Session):  # it may have something to write first
            return reader.execute(self.select, values).all()
        dialect = reader.dialect
        known = self._texts.get(dialect.name) or self._write(dialect)
        try:
            return send(reader, known.text, known.parameters(values))
        except known.errors:
            # Once more, by the library, which says what is wrong in its own errors, and
            # drops a connection that has died.
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
    """The rows that the driver gives for `text`."""
    cursor = connection.connection.cursor()
    try:
        cursor.execute(text, parameters)
        rows: Sequence[Row] = cursor.fetchall()
        return rows
    finally:
        cursor.close()
