"""The documentation, as far as the demo page links to it.

It is the site that `make docs` has built. If there is no site yet, it is the Markdown
source, with links that work.
"""

from __future__ import annotations

import re
from pathlib import Path

from flask import Response, send_from_directory
from markupsafe import Markup, escape
from werkzeug.exceptions import NotFound

from app.security_headers import page
from config import PROJECT_ROOT

DOCS = PROJECT_ROOT / "docs"
SITE = PROJECT_ROOT / "var" / "site"
LINK = re.compile(r"(?<=\]\()([\w./-]+)\.md(?=[)#])")


def document(name: str) -> Response:
    """The page `name` of the site, such as `quick-start/`, or its source."""
    if (SITE / "index.html").exists():
        is_page = name == "" or name.endswith("/")
        return send_from_directory(SITE, f"{name}index.html" if is_page else name)
    pages = sources()
    source = pages.get(name.strip("/") or "index")
    if source is None:
        raise NotFound
    text = _linked(source.read_text(encoding="utf-8"), source, pages)
    return page("demo/document.html", text=text, name=source.name)


def sources() -> dict[str, Path]:
    """All pages of the documentation by their name in the site."""
    found = {
        path.relative_to(DOCS).with_suffix("").as_posix().lower(): path
        for path in DOCS.rglob("*.md")
    }
    return found | {"quick-start": PROJECT_ROOT / "README.md"}


def _linked(text: str, source: Path, pages: dict[str, Path]) -> Markup:
    """The text as HTML. Links to other pages of the documentation are links."""
    names = {path.resolve(): name for name, path in pages.items()}

    def link(found: re.Match[str]) -> str:
        name = names.get((source.parent / f"{found[1]}.md").resolve())
        return f'<a href="/docs/{name}/">{found[0]}</a>' if name else found[0]

    return Markup(LINK.sub(link, str(escape(text))))  # noqa: S704 - escaped here
