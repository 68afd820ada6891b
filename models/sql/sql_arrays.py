"""SQL arrays: lists of any length as one bind parameter.

`IN (?, ?, ...)` has a different statement text for each number of values. So no plan is
reused, and SQLite stops at 32,766 values. These constructs pass the whole list as one
value: an array on PostgreSQL, JSON text on SQLite. The statement for one user and for
ten thousand users is the same text, compiled and prepared once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Self

from sqlalchemy import ARRAY, BindParameter, Boolean, ColumnElement, String, bindparam
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import Text, TypeDecorator, TypeEngine

from models.identifiers import SEPARATOR


class TextList(TypeDecorator[list[str]]):
    """A list of texts as a bind value. No column has this type."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """An array on PostgreSQL, JSON text on SQLite."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(ARRAY(String()))
        return dialect.type_descriptor(Text())

    def process_bind_param(
        self, value: Iterable[str] | None, dialect: Dialect
    ) -> list[str] | str:
        """The list in the form that the driver takes."""
        values = list(value or ())
        return values if dialect.name == "postgresql" else json.dumps(values)


class PairList(TypeDecorator[list[tuple[str, str]]]):
    """A list of pairs of texts as a bind value: JSON text on both databases."""

    impl = Text
    cache_ok = True

    def process_bind_param(
        self, value: Iterable[tuple[str, str]] | None, dialect: Dialect
    ) -> str:
        """The pairs as JSON arrays of two."""
        del dialect  # the same for both
        return json.dumps(list(value or ()))


class among(FunctionElement[bool]):  # noqa: N801  reads like the SQL it stands for
    """`among(column, values)`: the column's value is in the list."""

    type = Boolean()
    inherit_cache = True

    def __init__(self, column: ColumnElement[str], values: BindParameter[Any]) -> None:
        super().__init__(column, values)

    def self_group(self, against: OperatorType | None = None) -> Self:
        """Keep SQLAlchemy from adding `= 1` on SQLite, where a boolean function is a
        number. SQLite would then scan the table instead of using the index."""
        del against
        return self


class each_pair(FunctionElement[Any]):  # noqa: N801
    """`each_pair(pairs)`: one row per pair. Use it as `.table_valued("value")`."""

    inherit_cache = True


class joined(FunctionElement[str]):  # noqa: N801
    """`joined(column)`: the texts of a group as one text, with `SEPARATOR` in between.

    SQLAlchemy's `aggregate_strings` puts the separator into the statement at each
    execution, by a regular expression. That takes longer than a small query.
    """

    type = String()
    inherit_cache = True


class joined_once(FunctionElement[str]):  # noqa: N801
    """Like `joined`, but with each text only once."""

    type = String()
    inherit_cache = True


def text_list(name: str) -> BindParameter[list[str]]:
    """The bind parameter `name`, a list of texts."""
    return bindparam(name, type_=TextList())


def pair_list(name: str) -> BindParameter[list[tuple[str, str]]]:
    """The bind parameter `name`, a list of pairs of texts."""
    return bindparam(name, type_=PairList())


@compiles(among, "postgresql")
def _among_postgresql(element: among, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    column, values = (compiler.process(part, **kw) for part in element.clauses)
    return f"{column} = ANY ({values})"


@compiles(among, "sqlite")
def _among_sqlite(element: among, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    column, values = (compiler.process(part, **kw) for part in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608  no values in it


@compiles(joined, "postgresql")
def _joined_postgresql(element: joined, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    return f"string_agg({compiler.process(element.clauses, **kw)}, '{SEPARATOR}')"


@compiles(joined, "sqlite")
def _joined_sqlite(element: joined, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    return f"group_concat({compiler.process(element.clauses, **kw)}, '{SEPARATOR}')"


@compiles(joined_once, "postgresql")
def _joined_once_postgresql(
    element: joined_once,
    compiler: SQLCompiler,
    **kw: Any,  # noqa: ANN401
) -> str:
    texts = compiler.process(element.clauses, **kw)
    return f"string_agg(DISTINCT {texts}, '{SEPARATOR}')"


@compiles(joined_once, "sqlite")
def _joined_once_sqlite(
    element: joined_once,
    compiler: SQLCompiler,
    **kw: Any,  # noqa: ANN401
) -> str:
    # With DISTINCT, SQLite allows only its default separator, which is SEPARATOR.
    return f"group_concat(DISTINCT {compiler.process(element.clauses, **kw)})"


@compiles(each_pair, "postgresql")
def _each_pair_postgresql(element: each_pair, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    return (
        f"json_array_elements(CAST({compiler.process(element.clauses, **kw)} AS JSON))"
    )


@compiles(each_pair, "sqlite")
def _each_pair_sqlite(element: each_pair, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    return f"json_each({compiler.process(element.clauses, **kw)})"
