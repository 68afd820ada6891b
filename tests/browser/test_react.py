"""The React bindings, with the real React and Zustand, and the example application."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, expect

from config import PROJECT_ROOT
from tests.browser.needed import PACKAGE, install_client, node_modules
from tests.clients import Client
from tests.servers import free_port
from tests.system import wait_until

pytestmark = pytest.mark.timeout(300)

HERE = Path(__file__).parent
EXAMPLE = PROJECT_ROOT / "examples" / "react"
numbers = itertools.count()


@pytest.fixture(scope="module")
def script(tmp_path_factory) -> str:
    """The test page's script with React and Zustand in it."""
    modules = node_modules()
    out = tmp_path_factory.mktemp("bundle") / "page.js"
    subprocess.run(
        [
            modules / ".bin" / "esbuild",
            HERE / "react" / "page.js",
            "--bundle",
            "--format=esm",
            f"--alias:greendot-client/react={PACKAGE / 'react.js'}",
            f"--outfile={out}",
            "--log-level=error",
        ],
        check=True,
        env={**os.environ, "NODE_PATH": str(modules)},
    )
    return out.read_text()


@pytest.fixture
def names(site):
    number = next(numbers)
    found = [f"react-{number}-{name}" for name in ("me", "one", "two")]
    site.befriend(*found)
    return found


@pytest.fixture
def open_page(site, open_tab, script, names):
    """The test page, at the site's own origin."""

    def open_(
        *,
        strict: bool = False,
        labels: dict | None = None,
        url: str | None = None,
        mine: bool = False,
        outage: bool = False,
        aborted: str | None = None,
        requests: list[str] | None = None,
        **options: object,
    ) -> Page:
        page = open_tab(outage=outage or url is not None).page
        if aborted:
            page.route(aborted, lambda route: route.abort())
        if requests is not None:
            page.on("request", lambda request: note(requests, request))
        test = {
            "strict": strict,
            "labels": labels,
            "mine": mine,
            "users": names[1:],
            "options": {
                "token": site.token(names[0]),
                **({"url": url} if url else {}),
                **options,
            },
        }
        page.goto(site.url() + "/healthz")
        page.evaluate(f"window.test = {json.dumps(test)}")
        page.add_script_tag(content=script, type="module")
        expect(page.locator("#line")).to_have_text("offline" if url else "live")
        return page

    return open_


def note(requests: list[str], request: Request) -> None:
    """Keep the method of a request for one's own settings."""
    if request.url.endswith("/api/me/presence"):
        requests.append(request.method)


def badge(page: Page, user: str):
    return page.locator(f"#{user} .greendot-badge")


def test_a_change_renders_only_whom_it_concerns(site, open_page, names):
    _, one, two = names
    page = open_page()
    expect(badge(page, one)).to_have_attribute("data-presence", "offline")
    before = page.locator(f"#{two}").get_attribute("data-renders")
    with Client(site, one).opened():
        expect(badge(page, one)).to_have_attribute("data-presence", "online")
        expect(badge(page, one)).to_have_text("Online")
        expect(page.locator("#friends")).to_have_text(one)
        expect(page.locator("#zustand")).to_have_text("true")
    expect(badge(page, one)).to_have_attribute("data-presence", "offline")
    expect(page.locator("#zustand")).to_have_text("false")
    seen = json.loads(page.locator(f"#{one} code").text_content())
    assert seen == {"online": False, "known": True, "seen": True}
    assert page.locator(f"#{two}").get_attribute("data-renders") == before
    assert page.locator("#zustand").get_attribute("data-renders") == "3"


def test_strict_mode_and_unmounting(site, open_page, names):
    me, one, _ = names
    page = open_page(strict=True)
    with Client(site, one).opened():
        expect(badge(page, one)).to_have_attribute("data-presence", "online")
    page.evaluate("root.unmount()")
    wait_until(lambda: not site.is_online(me))


def test_a_bad_url_takes_no_page_down(open_page, names):
    page = open_page(url="http://[")
    expect(badge(page, names[1])).to_have_attribute("data-presence", "unknown")


def test_after_leaving_nobody_is_shown_as_green(site, open_page, names):
    _, one, _ = names
    page = open_page()
    with Client(site, one).opened():
        expect(badge(page, one)).to_have_attribute("data-presence", "online")
        page.evaluate("client.leave()")
        expect(badge(page, one)).to_have_attribute("data-presence", "unknown")
        expect(badge(page, one)).to_have_text("Unknown")
        expect(page.locator("#friends")).to_have_text("")
        page.evaluate("client.connect()")
        expect(badge(page, one)).to_have_attribute("data-presence", "online")


def test_the_dot_tells_without_colours_too(site, open_page, names, picture):
    """Forced colours paint every background alike, and so does a printer."""
    _, one, _ = names
    page = open_page()
    page.emulate_media(forced_colors="active")
    dot = badge(page, one).locator("[aria-hidden]")
    seen = []
    expect(badge(page, one)).to_have_attribute("data-presence", "offline")
    seen.append(dot.screenshot())
    with Client(site, one).opened():
        expect(badge(page, one)).to_have_attribute("data-presence", "online")
        seen.append(dot.screenshot())
        picture(page, "badge-forced-colours")
        page.emulate_media(forced_colors="none")
        picture(page, "badge")
        page.emulate_media(forced_colors="active")
        page.evaluate("client.leave()")
        expect(badge(page, one)).to_have_attribute("data-presence", "unknown")
        seen.append(dot.screenshot())
    assert len(set(seen)) == 3


STATES = {
    "active": ("online", "Online"),
    "away": ("online", "Away"),
    "dnd": ("online", "Do not disturb"),
}


def set_mine(site, user: str, changes: dict) -> None:
    """What `user` changes on another device."""
    token = site.token(user)
    status, answer = site.request("PATCH", "/api/me/presence", changes, token=token)
    assert status == 200, answer


def test_each_state_has_its_own_shape_colour_and_words(site, open_page, names, picture):
    _, one, _ = names
    page = open_page()
    mark = badge(page, one)
    dot = mark.locator("[aria-hidden]")
    colours, shapes, plain = [], [], []
    expect(mark).to_have_attribute("data-presence", "offline")

    def note() -> None:
        colours.append(dot.evaluate("(dot) => getComputedStyle(dot).color"))
        shapes.append(dot.evaluate("(dot) => dot.innerHTML"))
        page.emulate_media(forced_colors="active")
        plain.append(dot.screenshot())
        page.emulate_media(forced_colors="none")

    note()
    assert mark.get_attribute("data-availability") is None
    with Client(site, one).opened():
        for availability, (presence, words) in STATES.items():
            set_mine(site, one, {"availability": availability})
            expect(mark).to_have_attribute("data-availability", availability)
            expect(mark).to_have_attribute("data-presence", presence)
            expect(mark).to_have_text(words)
            assert words in mark.aria_snapshot()  # what a screen reader says
            note()
            picture(page, f"badge-{availability}")
        expect(page.locator("#friends")).to_have_text(one)
    expect(mark).to_have_attribute("data-presence", "offline")
    for colour in colours:
        assert 1.05 / (luminance(colour) + 0.05) >= 3
        assert (luminance(colour) + 0.05) / 0.05 >= 3
    for seen in (colours, shapes, plain):
        assert len(set(seen)) == 4


def test_usepresence_has_the_text_and_only_its_row_renders(site, open_page, names):
    _, one, two = names
    page = open_page()
    said = page.locator(f"#{one} q")
    expect(said).to_have_text("[null,null,null]")
    with Client(site, one).opened(), Client(site, two).opened():
        expect(said).to_have_text('["active",null,null]')
        expect(page.locator(f"#{two} q")).to_have_text('["active",null,null]')
        before = page.locator(f"#{two}").get_attribute("data-renders")
        changes = {"availability": "dnd", "text": "Compiling", "emoji": "🧮"}
        set_mine(site, one, changes)
        expect(said).to_have_text('["dnd","Compiling","🧮"]')
        assert page.locator(f"#{two}").get_attribute("data-renders") == before
        page.evaluate("client.store.setState({ stale: true })")
        expect(said).to_have_text("[null,null,null]")


def test_without_details_somebody_online_counts_as_active(site, open_page, names):
    _, one, _ = names
    page = open_page(detail=False)
    with Client(site, one).opened():
        set_mine(site, one, {"availability": "dnd"})
        expect(page.locator(f"#{one} q")).to_have_text('["active",null,null]')
        expect(badge(page, one)).to_have_text("Online")


def test_usemypresence_reads_once_writes_and_follows(site, open_page, names):
    me, _, _ = names
    requests = []
    page = open_page(mine=True, strict=True, outage=True, requests=requests)
    mine, again = page.locator("#mine"), page.locator("#mine-again")
    expect(mine).to_contain_text('"visibility":"everyone"')
    expect(again).to_contain_text('"visibility":"everyone"')
    assert requests.count("GET") == 1
    answer = page.evaluate("change({ text: 'lunch' })")
    assert answer["text"] == "lunch"
    expect(mine).to_contain_text('"text":"lunch"')
    set_mine(site, me, {"text": "tea"})
    expect(mine).to_contain_text('"text":"tea"')
    expect(again).to_contain_text('"text":"tea"')
    code = page.evaluate("change({ text: 1 }).catch(({ code }) => code)")
    assert code == "bad_request"
    expect(mine).to_contain_text('"text":"tea"')
    page.evaluate("client.leave()")
    expect(mine).not_to_contain_text("tea")
    assert requests.count("PATCH") == 2


def test_usemypresence_tells_why_there_is_nothing_and_tries_again(open_page):
    page = open_page(mine=True, outage=True, aborted="**/api/me/presence")
    mine = page.locator("#mine")
    expect(mine).to_contain_text('"error":"PresenceNetworkError"')
    page.unroute("**/api/me/presence")
    page.evaluate("client.close(), client.connect()")
    expect(mine).to_contain_text('"visibility":"everyone"')


def luminance(colour: str) -> float:
    """Relative luminance, as the Web Content Accessibility Guidelines define it."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_dot_has_enough_contrast_on_white_and_on_black(site, open_page, names):
    _, one, _ = names
    page = open_page()
    colour = "(dot) => getComputedStyle(dot).borderTopColor"
    dot = badge(page, one).locator("[aria-hidden]")
    expect(badge(page, one)).to_have_attribute("data-presence", "offline")
    grey = dot.evaluate(colour)
    with Client(site, one).opened():
        expect(badge(page, one)).to_have_attribute("data-presence", "online")
        green = dot.evaluate(colour)
    assert green != grey
    for seen in (green, grey):
        assert 1.05 / (luminance(seen) + 0.05) >= 3
        assert (luminance(seen) + 0.05) / 0.05 >= 3


def test_its_hidden_words_make_no_page_grow(open_page):
    page = open_page()
    page.evaluate("""() => {
        const list = document.querySelector('ul');
        list.style = 'height: 20px; overflow: auto';
        for (const row of list.children) row.style = 'height: 3000px';
    }""")
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")


def test_it_speaks_other_languages(open_page, names):
    page = open_page(labels={"offline": "Nicht da"})
    expect(badge(page, names[1])).to_have_text("Nicht da")
    page.evaluate("client.leave()")
    expect(badge(page, names[1])).to_have_text("Unknown")


@pytest.fixture(scope="module")
def example(site, tmp_path_factory):
    """examples/react, built with the client as `npm pack` makes it, and served."""
    modules = install_client(EXAMPLE, tmp_path_factory.mktemp("pack"))
    vite = modules / ".bin" / "vite"
    subprocess.run([vite, "build"], cwd=EXAMPLE, check=True, capture_output=True)
    port = free_port()
    served = subprocess.Popen(
        [vite, "preview", "--port", str(port), "--strictPort", "--host", "127.0.0.1"],
        cwd=EXAMPLE,
        env={**os.environ, "GREENDOT_URL": site.url()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield f"http://127.0.0.1:{port}"
    served.terminate()
    served.wait()


@pytest.mark.slow
def test_the_example_shows_green_dots(example, site, open_tab, picture):
    wait_until(lambda: not site.is_online("ada") and not site.is_online("grace"))
    ada, grace = open_tab(), open_tab()
    wait_until(lambda: answers(ada.page, example + "/?user=ada"))
    row = ada.page.locator("li", has_text="grace").locator(".greendot-badge")
    expect(row).to_have_text("Offline")
    grace.page.goto(example + "/?user=grace")
    expect(row).to_have_text("Online")
    expect(ada.page.locator("#count")).to_have_text("grace online")
    picture(ada.page, "example-react")
    grace.page.close()
    expect(row).to_have_text("Offline")
    ada.page.close()


def answers(page: Page, url: str) -> bool:
    try:
        return page.goto(url).ok
    except Exception:  # noqa: BLE001 - Vite is not there yet
        return False


def test_the_packed_types_are_those_of_the_source(tmp_path):
    node_modules()
    subprocess.run(
        [
            node_modules() / ".bin" / "tsc",
            "--project",
            HERE / "tsconfig.types.json",
            "--outDir",
            tmp_path,
        ],
        check=True,
    )
    fresh = {path.name: path.read_text() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_text() for path in (PACKAGE / "types").iterdir()}
    assert kept == fresh, (
        "run: tests/browser/node_modules/.bin/tsc -p tests/browser/tsconfig.types.json"
    )
