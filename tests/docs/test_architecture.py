"""docs/ARCHITECTURE.md is true: its keys are those of the code, its files exist, and
each step of its walks names a function that is there."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

import pytest

from config import PROJECT_ROOT
from models.presence import Keys
from models.presence.outbox import LEASE_MS
from models.presence.tickets import TICKET_TTL
from tests.docs.pages import Page, code

PAGE = Page("docs/ARCHITECTURE.md")

# 4. `app/gateway/gateway.py` `Gateway.heartbeat`: what it does. Lua needs no name.
_STEP = re.compile(r"(\d+)\. `([\w/]+\.(?:py|lua))`(?: `([\w.]+)`)?: ")
WALKS = ("How a heartbeat reaches Redis", "How a connect reaches a friend")


@dataclass(frozen=True, slots=True)
class Step:
    """One numbered step of a walk: the file and the function that it names."""

    walk: str
    number: int
    file: str
    function: str | None

    def __str__(self) -> str:
        return f"{self.walk}, step {self.number}"


def steps_of(walk: str) -> list[Step]:
    section = PAGE.text.partition(f"### {walk}\n")[2].partition("\n##")[0]
    numbered = re.findall(r"^\d+\. .*", section, re.MULTILINE)
    found = []
    for line in numbered:
        match = _STEP.match(line)
        assert match, f"a step names a file and a function first: {line}"
        found.append(Step(walk, int(match[1]), match[2], match[3]))
    return found


STEPS = [step for walk in WALKS for step in steps_of(walk)]


def functions_of(source: str) -> set[str]:
    """All functions of a Python module; methods as `Class.method`."""
    found: set[str] = set()
    for node in ast.parse(source).body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
        found.update(
            prefix + member.name
            for member in members
            if isinstance(member, ast.FunctionDef)
        )
    return found


@pytest.mark.parametrize("walk", WALKS)
def test_the_steps_of_a_walk_are_numbered(walk: str):
    numbers = [step.number for step in steps_of(walk)]
    assert len(numbers) >= 5
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_the_file_of_a_step_contains_its_function(step: Step):
    file = PROJECT_ROOT / step.file
    assert file.is_file(), step.file
    source = file.read_text(encoding="utf-8")
    if file.suffix == ".py":
        assert step.function in functions_of(source)
    elif step.function is not None:
        pattern = rf"^(local )?function {step.function}\("
        assert re.search(pattern, source, re.MULTILINE)


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


def test_the_files_to_change_exist():
    rows = PAGE.table("to add", "change")
    places = [place for row in rows for place in re.findall(r"`([\w./]+)`", row[1])]
    assert places
    for place in places:
        assert (PROJECT_ROOT / place).exists(), place
