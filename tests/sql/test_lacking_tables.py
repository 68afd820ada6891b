"""A database without tables is told from a mistake in our SQL."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from models.sql.db import lacks_tables

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("statement", "lacks"),
    [("SELECT 1 FROM strangers", True), ("SELECT strange FROM users", False)],
)
def test_what_the_database_says(engine: Engine, statement: str, lacks: bool):  # noqa: FBT001
    with engine.connect() as connection, pytest.raises(DBAPIError) as caught:
        connection.execute(text(statement))
    assert lacks_tables(caught.value) is lacks
