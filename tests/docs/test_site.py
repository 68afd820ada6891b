"""The site that `make docs` builds: it is complete, and its pages read as on GitHub."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt

from config import PROJECT_ROOT
from tests.docs.pages import Page
from tests.needs import missing

COMPARE = Page("docs/COMPARE.md")
BENCH = Page("bench/README.md")
COUNTED = {"code", "em", "h2", "h3", "li", "strong", "tr"}
"""The elements that tell whether a page was understood as GitHub understands it."""
EXAMPLE = re.compile(r"^\[(examples/hosts/\S+)\]\(\S+\)$", re.MULTILINE)
"""A link below which the site shows the file."""


class Html(HTMLParser):
    """What the tests want to know of a page, or of its article."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements = Counter[str]()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        given = {name: value or "" for name, value in attrs}
        self.ids.add(given.get("id", ""))
        if tag == "a" and "href" in given:
            self.links.add(given["href"])
        elif tag == "link" and given.get("rel") not in {"next", "prev", "canonical"}:
            self.loaded.add(given["href"])
        elif "src" in given:
            self.loaded.add(given["src"])

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    if find_spec("mkdocs") is None:
        missing("mkdocs (make docs installs it)", "DOCS")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Html]:
    found = {path: Html(path.read_text()) for path in site.rglob("index.html")}
    assert len(found) > 50
    return found


def article(path: Path) -> Html:
    text = path.read_text()
    return Html(text[text.index("<article") : text.index("</article>")])


def place(site: Path, source: str) -> Path:
    """Where the page of a document is. The home page's links tell of the others."""
    outside = {
        "README.md": "quick-start",
        "CHANGELOG.md": "changelog",
        "CONTRIBUTING.md": "contributing",
        "SECURITY.md": "report",
        "bench/README.md": "bench",
        "clients/python/README.md": "clients/python",
        "app/static/greendot/README.md": "clients/javascript",
        "examples/react/README.md": "clients/react",
        "docs/index.md": "",
    }
    inside = source.removeprefix("docs/").removesuffix(".md").lower()
    return site / outside.get(source, inside) / "index.html"


def documents() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--", "*.md"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return listed.stdout.split()


def test_each_document_is_understood_as_on_github(site):
    # What stands above is on the home page; what the site adds is not on GitHub.
    cut = {"README.md": "## Try it", "docs/REST.md": None}
    wrong = {}
    for source in documents():
        if (start := cut.get(source, "")) is None:
            continue
        text = Page(source).text
        here = Html(
            MarkdownIt("commonmark").enable("table").render(text[text.index(start) :])
        ).elements
        there = article(place(site, source)).elements
        here["code"] += len(EXAMPLE.findall(text))
        differ = {tag for tag in COUNTED if here[tag] != there[tag]}
        if differ:
            wrong[source] = {tag: (here[tag], there[tag]) for tag in differ}
    assert wrong == {}


def test_each_link_leads_to_a_place_in_the_site(site, pages):
    dead = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve()
            target = target / "index.html" if target.is_dir() else target
            anchors = pages[target].ids if target in pages else {""}
            if not target.exists() or unquote(parts.fragment) not in anchors | {""}:
                dead.append(f"{path.relative_to(site)}: {link}")
    assert dead == []


def test_a_page_loads_nothing_from_elsewhere(site, pages):
    loaded = {url for page in pages.values() for url in page.loaded}
    for path in site.rglob("*.css"):
        loaded |= set(re.findall(r"url\(([^)]*)\)", path.read_text()))
    assert len(loaded) > 10
    assert [url for url in loaded if re.match("(https?:)?//", url.strip("\"'"))] == []


def test_the_page_of_rest_has_every_route(site):
    page = article(site / "rest" / "index.html")
    document = json.loads((PROJECT_ROOT / "var" / "openapi.json").read_text())
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert f"{method.upper()} {path}" in page.words
            assert operation["summary"].replace("`", "") in page.words


def test_the_pages_of_hosts_show_the_hosts_that_are_tested(site):
    shown = set()
    for source in documents():
        for path in EXAMPLE.findall(Page(source).text):
            text = (PROJECT_ROOT / path).read_text().strip()
            assert text in article(place(site, source)).words, f"{source}: {path}"
            shown.add(path)
    assert len(shown) >= 9


def test_the_comparison_has_the_figures_of_the_benchmarks():
    rows = COMPARE.table("", "Greendot", "socket.io")
    figures = [re.sub(r"[^\d.,]", "", cell) for row in rows for cell in row[1:]]
    assert len(figures) == 12
    for figure in figures:
        assert re.search(rf"(?<![\d.,]){re.escape(figure)}(?![\d,])", BENCH.text), (
            figure
        )
