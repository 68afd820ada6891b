"""Makes the site of `make docs` from the same Markdown that GitHub shows.

Four things differ between the two, and this file is the only place that knows them:

- **Links.** On GitHub a page may link to any file of the repository. A page of the site
  may link only to the site. So each file and folder outside docs/ that a page links to
  becomes a page, too. `PAGES` gives a place in the site to those that are documents.
- **Examples.** Below a paragraph that is only a link to a file of examples/hosts, the
  site shows the file.
- **Fences.** Our blocks of code have a second word for the tests, which Python-Markdown
  does not know.
- **REST.** The page REST shows the OpenAPI document of the application.
"""

from __future__ import annotations

import os
import posixpath
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
OPENAPI = ROOT / "var" / "openapi.json"
PAGES = {
    "README.md": "quick-start.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "report.md",
    "app/static/greendot/README.md": "clients/javascript.md",
    "bench/README.md": "bench.md",
    "clients/python/README.md": "clients/python.md",
    "examples/react/README.md": "clients/react.md",
}
"""Documents outside docs/, and their places in the site."""
ICON = "app/static/demo/icon.svg"

LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(?=(?:#[^)\s]*)?\))")
EXAMPLE = re.compile(r"^\[(examples/hosts/\S+)\]\(\S+\)$", re.MULTILINE)
MARKED_FENCE = re.compile(r"^( *```\w+) .+$", re.MULTILINE)
SERVERS = re.compile(r"^## Servers$.*?(?=^## )", re.MULTILINE | re.DOTALL)
CODE_IN_CELL = re.compile(r"`([^`\n]+)`(?=.*</td>)")
LANGUAGES = {".conf": "nginx", ".mjs": "js", ".service": "ini", ".timer": "ini"}
"""How to colour files whose name does not say it."""


def on_pre_build(**_given: object) -> None:
    """Write the OpenAPI document, from which the page REST is made."""
    OPENAPI.parent.mkdir(exist_ok=True)
    with OPENAPI.open("wb") as out:
        subprocess.run(
            [sys.executable, "-m", "flask", "--app", "wsgi", "openapi"],
            cwd=ROOT,
            # The document does not depend on the secret, but the application needs one.
            env={**os.environ, "PRESENCE_JWT_SECRET": secrets.token_hex()},
            stdout=out,
            check=True,
        )


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages whose files are outside docs/."""
    for path, uri in {**PAGES, ICON: "icon.svg"}.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    waiting = list(files.documentation_pages())
    for file in waiting:
        for path in _linked(file.content_string, _path(file)):
            uri = _uri(path)
            if uri not in files.src_uris:
                made = File.generated(config, uri, content=_shown(path))
                files.append(made)
                waiting.append(made)
    for file in files.documentation_pages():
        file.dest_uri = file.dest_uri.lower()


def on_page_markdown(markdown: str, page: Page, **_given: object) -> str:
    """Return `markdown` with links and fences as MkDocs wants them."""
    path, uri = _path(page.file), page.file.src_uri
    if path == "README.md":  # the home page says what stands above
        markdown = "# Quick start\n\n" + markdown[markdown.index("## Try it") :]
    if path == "docs/REST.md":  # what the plugin has made of the document
        markdown = re.sub(r"^# Greendot .*$", "## About", markdown, flags=re.MULTILINE)
        markdown = SERVERS.sub("", markdown)  # the one that is asked, always
        markdown = CODE_IN_CELL.sub(r"<code>\1</code>", markdown)

    def in_site(link: re.Match[str]) -> str:
        target = _target(link[0], path)
        if target is None:
            return link[0]
        return posixpath.relpath(_uri(target), posixpath.dirname(uri) or ".")

    return LINK.sub(in_site, MARKED_FENCE.sub(r"\1", EXAMPLE.sub(_example, markdown)))


def _path(file: File) -> str:
    """Where the source of a page is in the repository."""
    uri = file.src_uri
    if uri.startswith("source/"):
        # In a folder's page, links are relative to the folder.
        path = uri.removeprefix("source/").removesuffix(".md")
        return f"{path}/." if (ROOT / path).is_dir() else path
    return {to: path for path, to in PAGES.items()}.get(uri, f"docs/{uri}")


def _uri(path: str) -> str:
    """Where a file or folder of the repository is in the site."""
    document = f"{path}/README.md" if f"{path}/README.md" in PAGES else path
    if document in PAGES:
        return PAGES[document]
    if path.startswith("docs/") and (ROOT / path).is_file():
        return path.removeprefix("docs/")
    return f"source/{path}.md"


def _target(link: str, path: str) -> str | None:
    """The path of what the file `path` links to; None if there is no such file."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
    return target if (ROOT / target).exists() else None


def _linked(markdown: str, path: str) -> Iterator[str]:
    """The paths of all files and folders to which the file `path` links."""
    for link in LINK.findall(markdown):
        if target := _target(link, path):
            yield target


def _example(link: re.Match[str]) -> str:
    """The link to an example, and its code."""
    return f"{link[0]}\n\n{_fenced(link[1])}"


def _shown(path: str) -> str:
    """A page that shows a file, or lists what Git knows in a folder."""
    if (ROOT / path).is_dir():
        listed = subprocess.run(
            ["git", "ls-files", "--", path],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
        names = sorted(
            {line.removeprefix(f"{path}/").split("/")[0] for line in listed.split()}
        )
        # MkDocs takes no page whose name begins with a dot.
        shown = [f"- [{name}]({name})\n" for name in names if name[0] != "."]
        return f"# {path}\n\n" + "".join(shown)
    return f"# {path}\n\n{_fenced(path)}"


def _fenced(path: str) -> str:
    """The text of a file as a block of code."""
    suffix = posixpath.splitext(path)[1]
    language = LANGUAGES.get(suffix, suffix[1:]) or "text"
    text = (ROOT / path).read_text(encoding="utf-8")
    return f"`````{language}\n{text}\n`````\n"
