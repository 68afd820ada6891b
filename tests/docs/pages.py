"""Reads what the documents show: fenced blocks, by their marker, and tables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from config import PROJECT_ROOT

_BLOCK = re.compile(r"^```(\w+)[ ]+(\S[^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block that is marked, as in "```json client close=1000": its language,
    its kind (client), its options (close: 1000) and its text."""

    language: str
    kind: str
    options: dict[str, str]
    text: str


@dataclass(frozen=True, slots=True)
class Page:
    """One Markdown file."""

    path: str

    @property
    def text(self) -> str:
        """The whole file."""
        return Path(PROJECT_ROOT, self.path).read_text(encoding="utf-8")

    def blocks(self, kind: str) -> list[Block]:
        """The blocks marked `kind`; there has to be one."""
        found = []
        for language, marker, text in _BLOCK.findall(self.text):
            name, *options = marker.split()
            if name == kind:
                pairs = (option.split("=", 1) for option in options)
                found.append(Block(language, kind, dict(pairs), text))
        assert found, f"{self.path} has no block marked {kind}"
        return found

    def block(self, kind: str) -> Block:
        """The one block marked `kind`."""
        (block,) = self.blocks(kind)
        return block

    def table(self, *header: str) -> list[list[str]]:
        """The rows of the one table with that header; the cells as they are written."""
        found = self._tables(header)
        assert len(found) == 1, f"{self.path}: {len(found)} tables of {header}"
        return found[0]

    def tables(self, *header: str) -> list[list[str]]:
        """The rows of all tables with that header."""
        found = self._tables(header)
        assert found, f"{self.path}: no table of {header}"
        return [row for rows in found for row in rows]

    def _tables(self, header: tuple[str, ...]) -> list[list[list[str]]]:
        found = []
        for part in re.findall(r"(?:^\|.*\|\n)+", self.text, re.MULTILINE):
            head, _line, *rows = [
                [cell.strip() for cell in line.strip("|").split(" | ")]
                for line in part.splitlines()
            ]
            if head == list(header):
                assert all(len(row) == len(header) for row in rows)
                found.append(rows)
        return found


def code(cell: str) -> str:
    """What stands between the first backticks of a table's cell."""
    return cell.split("`")[1]
