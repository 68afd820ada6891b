"""The documentation that the demo page links to: the site, or else its source."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from app.demo import docs
from tests.api.test_openapi import app_with


@pytest.fixture
def client() -> FlaskClient:
    return app_with(demo=True).test_client()


@pytest.fixture
def no_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs, "SITE", tmp_path)


@pytest.mark.usefixtures("no_site")
@pytest.mark.parametrize(
    ("name", "link"),
    [
        ("", '<a href="/docs/quick-start/">../README.md</a>'),
        ("quick-start/", '<a href="/docs/integrate/">docs/INTEGRATE.md</a>'),
        ("integrate/", '<a href="/docs/hosts/flask/">hosts/flask.md</a>'),
        ("hosts/flask/", '<a href="/docs/integrate/">../INTEGRATE.md</a>'),
    ],
)
def test_without_a_site_the_source_is_shown_and_its_links_work(
    client: FlaskClient, name: str, link: str
):
    answer = client.get(f"/docs/{name}")
    assert answer.status_code == 200
    assert link in answer.text
    assert "<script>" not in answer.text  # what the text contains is text


def test_if_there_is_a_site_it_is_shown(
    client: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(docs, "SITE", tmp_path)
    (tmp_path / "quick-start").mkdir()
    for name in ("index.html", "quick-start/index.html", "style.css"):
        (tmp_path / name).write_text(name)
    for path, shown in (
        ("", "index.html"),
        ("quick-start/", "quick-start/index.html"),
        ("style.css", "style.css"),
    ):
        with client.get(f"/docs/{path}") as answer:
            assert answer.text == shown


@pytest.mark.usefixtures("no_site")
@pytest.mark.parametrize("name", ["nothing/", "../config.py", "%2e%2e/README", "adr/"])
def test_nothing_else_is_documentation(client: FlaskClient, name: str):
    assert client.get(f"/docs/{name}").status_code == 404
