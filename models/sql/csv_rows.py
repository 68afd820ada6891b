"""Rows of CSV files with parts of the graph. Each error names the file and the line.

The files are UTF-8, with or without the byte order mark that spreadsheets write, with
any line ends. The first line is a header. Its columns may be in any order.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

FILES = ("users.csv", "friendships.csv", "conversations.csv", "participants.csv")

Value = TypeVar("Value")


class ImportFailed(ValueError):
    """A file cannot be loaded. The message names the file and the line."""


class BadRow(ImportFailed):
    """One row is wrong."""

    def __init__(self, file: str, line: int, reason: str) -> None:
        self.file = file
        self.line = line
        self.reason = reason
        super().__init__(f"{file}:{line}: {reason}")


class CsvRow:
    """One row of a file."""

    __slots__ = ("_places", "_values", "file", "line")

    def __init__(
        self, file: str, line: int, places: dict[str, int], values: list[str]
    ) -> None:
        self.file = file
        self.line = line
        self._places = places
        self._values = values

    @property
    def place(self) -> str:
        """The file and the line, for messages."""
        return f"{self.file}:{self.line}"

    def check_size(self) -> None:
        """Check that it has no more values than the header has columns.

        Raises:
            BadRow: it has.
        """
        if len(self._values) > len(self._places):
            message = "has more values than the header has columns"
            raise BadRow(self.file, self.line, message)

    def text(self, column: str) -> str:
        """The value in `column` without blanks around it; '' if there is none."""
        place = self._places.get(column)
        if place is None or place >= len(self._values):
            return ""
        return self._values[place].strip()

    def take(self, column: str, check: Callable[[str], Value]) -> Value:
        """What `check` returns for the value in `column`.

        Raises:
            BadRow: `check` has raised ValueError.
        """
        return self.check(column, self.text(column), check)

    def check(self, column: str, text: str, check: Callable[[str], Value]) -> Value:
        """What `check` returns for `text`.

        Raises:
            BadRow: `check` has raised ValueError. The message names the `column`.
        """
        try:
            return check(text)
        except ValueError as error:
            raise self.wrong(column=column, why=str(error)) from error

    def wrong(self, *, column: str, why: str) -> BadRow:
        """The error that says what is wrong in this row."""
        return BadRow(self.file, self.line, f"{column}: {why}")


def csv_rows(
    folder: Path, name: str, required: Sequence[str | tuple[str, ...]]
) -> Iterator[CsvRow | BadRow]:
    """The rows of the file `name`, and a `BadRow` for each that cannot be read. If
    there is no such file, there are no rows.

    `required` has the columns that the header must name. A tuple has the names that one
    column may have. In the rows it has the first one.

    Raises:
        ImportFailed: the header lacks a column, or the file is not UTF-8.
    """
    path = folder / name
    if not path.is_file():
        return
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            places = _places(name, next(reader, []), required)
            while True:
                try:
                    values = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield BadRow(name, reader.line_num, str(error))
                else:
                    if values:  # else the line is empty
                        yield CsvRow(name, reader.line_num, places, values)
    except UnicodeDecodeError as error:
        message = f"{name}: is not UTF-8 ({error.reason})"
        raise ImportFailed(message) from error
    except csv.Error as error:  # of the header
        message = f"{name}:1: {error}"
        raise ImportFailed(message) from error


def _places(
    file: str, found: Sequence[str], required: Sequence[str | tuple[str, ...]]
) -> dict[str, int]:
    """The place of each column, under the first name that it may have. Columns without
    a name have a place too."""
    header = [column.strip() for column in found]
    missing = []
    for column in required:
        names = (column,) if isinstance(column, str) else column
        place = next((header.index(name) for name in names if name in header), None)
        if place is None:
            missing.append(names[0])
        else:
            header[place] = names[0]
    if missing:
        message = f"{file}:1: the header lacks {', '.join(missing)}"
        raise ImportFailed(message)
    return {
        column if header.index(column) == place else f"{column}#{place}": place
        for place, column in enumerate(header)
    }
