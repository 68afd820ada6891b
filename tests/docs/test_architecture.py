"""docs/ARCHITECTURE.md is true: its keys are those of the code, its files exist."""

from __future__ import annotations

import re

from config import PROJECT_ROOT
from models.presence import Keys
from models.presence.outbox import LEASE_MS
from models.presence.tickets import TICKET_TTL
from tests.docs.pages import Page, code

PAGE = Page("docs/ARCHITECTURE.md")


def keys_of_the_code() -> set[str]:
    keys = Keys()
    found = {
        key
        for name, key in vars(keys).items()
        if isinstance(key, str) and name != "prefix"
    }
    for name, member in vars(Keys).items():
        if not name.startswith("_") and callable(member):
            found.add(member(keys, "{id}"))
    return found


def test_the_tables_name_every_key_and_no_other():
    tables = re.findall(
        r"^\| `([a-z_:{}]+)` \| (?:sorted )?\w+ \|", PAGE.text, re.MULTILINE
    )
    assert len(tables) == len(set(tables))
    assert set(tables) == keys_of_the_code()


def test_the_times_of_the_keys_are_those_of_the_code():
    assert f"{LEASE_MS // 1000} s lease" in PAGE.text
    assert f"{TICKET_TTL} s, or on first use" in PAGE.text


def test_the_files_that_are_named_exist():
    rows = PAGE.table("where", "what")
    places = [place for row in rows for place in re.findall(r"`([\w./]+)`", row[0])]
    assert len(places) > 10
    for place in places:
        found = [PROJECT_ROOT / place, PROJECT_ROOT / "models" / place]
        assert any(path.exists() for path in found), place
    assert all(code(row[0]) for row in rows)
