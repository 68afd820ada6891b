"""docs/CLIENT.md names the client's options as the code has them."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from config import PROJECT_ROOT
from tests.docs.pages import Page, code
from tests.docs.test_readme import node

PAGE = Page("docs/CLIENT.md")
README = Page("app/static/greendot/README.md")
CLIENT = PROJECT_ROOT / "app" / "static" / "greendot" / "client.js"


def test_the_options_are_those_of_the_client():
    typedef = (
        CLIENT.read_text().split("object} PresenceClientOptions\n")[1].split("*/")[0]
    )
    options = re.findall(r"@property \{.*\} \[(\w+)\]", typedef)
    named = [code(row[0]) for row in PAGE.table("option", "type", "default", "what")]
    assert sorted(named) == sorted(options)
    assert len(named) == len(set(named))


def test_a_page_without_a_bundler_loads_the_client_as_shown():
    """Browser tests open this page at each of the servers in examples/hosts."""
    (shown,) = re.findall(r"^ *(import .*)$", PAGE.block("script").text, re.MULTILINE)
    assert shown in (PROJECT_ROOT / "examples/hosts/page.html").read_text()
    for other in (Page("README.md"), Page("docs/INTEGRATE.md")):
        assert "`/greendot`" in other.text
    assert re.findall(r'"(.*)"', shown)[0] in Page("README.md").text


def test_the_methods_are_those_of_the_client():
    typedef = CLIENT.read_text().split("object} PresenceClient\n")[1].split("*/")[0]
    methods = re.findall(r"@property \{.*\} (\w+)", typedef)
    (sentence,) = re.findall(
        r"The function returns an object with (.*?)\.\s", PAGE.text, re.DOTALL
    )
    assert re.findall(r"`(\w+)", sentence) == methods


TRY = """
const answers = [[200, "a token"], [401, "no"], [500, "bad"]];
globalThis.fetch = async () => {
  const [status, token] = answers.shift();
  const body = JSON_BODY ? JSON.stringify({ token }) : token;
  return new Response(body, { status });
};
const seen = [];
while (answers.length > 0) seen.push(await token().catch(() => "rejected"));
console.log(JSON.stringify(seen));
"""


@pytest.mark.parametrize("page", [PAGE, README], ids=["CLIENT", "README"])
def test_the_token_function_tells_signed_out_from_a_failure(page):
    shown = page.block("token").text
    found = re.search(r"^async function token\(.*?^}$", shown, re.DOTALL | re.MULTILINE)
    assert found is not None
    script = found[0] + TRY.replace("JSON_BODY", str(page is PAGE).lower())
    done = subprocess.run(
        [*node(), "--input-type=module", "-e", script],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == ["a token", None, "rejected"]
