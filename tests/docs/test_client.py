"""docs/CLIENT.md names the client's options as the code has them."""

from __future__ import annotations

import re

from config import PROJECT_ROOT
from tests.docs.pages import Page, code

PAGE = Page("docs/CLIENT.md")
CLIENT = PROJECT_ROOT / "app" / "static" / "greendot" / "client.js"


def test_the_options_are_those_of_the_client():
    typedef = (
        CLIENT.read_text().split("object} PresenceClientOptions\n")[1].split("*/")[0]
    )
    options = re.findall(r"@property \{.*\} \[(\w+)\]", typedef)
    named = [code(row[0]) for row in PAGE.table("option", "type", "default", "what")]
    assert sorted(named) == sorted(options)
    assert len(named) == len(set(named))


def test_the_methods_are_those_of_the_client():
    typedef = CLIENT.read_text().split("object} PresenceClient\n")[1].split("*/")[0]
    methods = re.findall(r"@property \{.*\} (\w+)", typedef)
    (sentence,) = re.findall(
        r"The function returns an object with (.*?)\.\s", PAGE.text, re.DOTALL
    )
    assert re.findall(r"`(\w+)", sentence) == methods
