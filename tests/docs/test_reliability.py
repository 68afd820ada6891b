"""docs/RELIABILITY.md is true: the tests that it names exist."""

from __future__ import annotations

import re

from config import PROJECT_ROOT
from tests.docs.pages import Page

PAGE = Page("docs/RELIABILITY.md")


def test_the_tests_that_are_named_exist():
    named = re.findall(r"`(tests/[\w/]+(?:\.py)?)(?:::(\w+))?`", PAGE.text)
    assert len(named) > 20
    for path, function in named:
        file = PROJECT_ROOT / path
        assert file.exists(), path
        if function:
            assert f"def {function}(" in file.read_text(encoding="utf-8"), function
