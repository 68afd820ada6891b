"""The demo page as people use it: two browsers, each a demo user of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.clients import Client
from tests.system import SERVICE_KEY, wait_until

PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}


def sign_in(page: Page, site, name: str, web: int = 0) -> None:
    page.goto(site.url(web) + "/one")
    page.get_by_role("button", name=name).click()
    expect(page.locator("#connection")).to_have_text("Live")


def dot(page: Page, user_id: str):
    return page.locator(f"#friends [data-user={user_id}]")


def is_offline(site, *user_ids: str) -> None:
    wait_until(lambda: not any(site.is_online(user_id) for user_id in user_ids))


@pytest.fixture
def ada_and_grace(site, open_tab):
    """Ada sits at one gateway, Grace at the other."""
    is_offline(site, "ada", "grace")
    ada, grace = open_tab(), open_tab()
    sign_in(ada.page, site, "Ada Lovelace", web=0)
    yield ada, grace
    for tab in (ada, grace):
        tab.page.close()
    is_offline(site, "ada", "grace")


def test_two_users_see_each_other_come_and_go(site, ada_and_grace, picture):
    ada, grace = ada_and_grace
    row = dot(ada.page, "grace")
    expect(row).to_have_attribute("data-presence", "offline")

    sign_in(grace.page, site, "Grace Hopper", web=1)
    expect(row.locator(".presence")).to_have_text("Online")
    expect(row).to_have_attribute("data-presence", "online")
    expect(dot(grace.page, "ada").locator(".presence")).to_have_text("Online")
    expect(ada.page.locator("#friends-count")).to_have_text("1 of 3 online")
    expect(ada.page.locator("#news")).to_have_text("Grace Hopper is online")
    picture(ada.page, "friends-light")

    grace.page.close()
    expect(row.locator(".presence")).to_have_text("Last seen just now")
    expect(row).to_have_attribute("data-presence", "offline")
    expect(ada.page.locator("#news")).to_have_text("Grace Hopper went offline")


def test_a_reload_is_no_absence(site, ada_and_grace):
    ada, grace = ada_and_grace
    sign_in(grace.page, site, "Grace Hopper", web=1)
    expect(dot(ada.page, "grace")).to_have_attribute("data-presence", "online")
    ada.page.evaluate("""() => {
        window.seen = [];
        const row = document.querySelector('#friends [data-user=grace]');
        new MutationObserver(() => seen.push(row.dataset.presence))
            .observe(row, { attributes: true });
    }""")
    grace.page.reload()
    expect(grace.page.locator("#connection")).to_have_text("Live")
    expect(dot(grace.page, "ada")).to_have_attribute("data-presence", "online")
    ada.page.wait_for_timeout(3000)  # longer than the grace
    assert "offline" not in ada.page.evaluate("seen")


def test_signing_out_takes_the_dot_at_once_and_shows_the_choice(site, ada_and_grace):
    ada, grace = ada_and_grace
    sent = []

    def keep(text: str) -> None:
        sent.append(text)

    grace.page.on("websocket", lambda socket: socket.on("framesent", keep))
    sign_in(grace.page, site, "Grace Hopper", web=1)
    expect(dot(ada.page, "grace")).to_have_attribute("data-presence", "online")
    grace.page.get_by_role("button", name="Sign out").click()
    expect(grace.page.get_by_role("heading", name="Who is online?")).to_be_visible()
    assert grace.context.cookies() == []
    assert json.loads(sent[-1]) == {"event": "leave", "data": {}}
    expect(dot(ada.page, "grace")).to_have_attribute("data-presence", "offline")


def test_a_refused_page_stays_and_says_so(site, ada_and_grace):
    """To load it again would be to be refused again, behind some proxies forever."""
    ada, _ = ada_and_grace
    ada.page.evaluate("window.same = true")
    site.admin("POST", "/users/ada/disconnect")
    expect(ada.page.locator("#connection")).to_have_text("Offline")
    ada.page.wait_for_timeout(1_000)
    assert ada.page.evaluate("window.same") is True
    expect(ada.page.locator("#connection")).to_have_text("Offline")


def test_who_is_signed_out_elsewhere_is_asked_to_choose(site, open_tab):
    page = open_tab(outage=True).page
    token = site.token("ada", 3)
    page.context.add_cookies(
        [{"name": "presence_token", "value": token, "url": site.url()}]
    )
    page.goto(site.url() + "/one")
    expect(page.locator("#connection")).to_have_text("Live")
    choice = page.get_by_role("button", name="Ada Lovelace")
    expect(choice).to_be_visible(timeout=10_000)


def test_signing_out_in_one_window_takes_the_others_to_the_choice(site, open_tab):
    ada = open_tab(outage=True)
    sign_in(ada.page, site, "Ada Lovelace")
    other = ada.page.context.new_page()
    other.goto(site.url() + "/one")
    expect(other.locator("#connection")).to_have_text("Live")
    other.get_by_role("button", name="Sign out").click()
    choice = ada.page.get_by_role("button", name="Ada Lovelace")
    expect(choice).to_be_visible(timeout=10_000)


@pytest.mark.slow
def test_last_seen_grows_old(site, ada_and_grace):
    ada, grace = ada_and_grace
    sign_in(grace.page, site, "Grace Hopper", web=1)
    expect(dot(ada.page, "grace")).to_have_attribute("data-presence", "online")
    grace.page.close()
    words = dot(ada.page, "grace").locator(".presence")
    expect(words).to_have_text("Last seen just now")
    ada.page.evaluate("""() => {
        const real = Date.now;
        Date.now = () => real() + 3 * 60_000 + 1000;
    }""")
    expect(words).to_have_text("Last seen 3 min ago", timeout=20_000)


def test_the_cookie_is_for_the_server_only(ada_and_grace):
    ada, _ = ada_and_grace
    (cookie,) = ada.context.cookies()
    assert cookie["name"] == "presence_token"
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")


def test_nobody_signs_in_as_a_stranger(site):
    status, answer = site.request("POST", "/demo/token", {"user_id": "mallory"})
    assert (status, answer["error"]["code"]) == (404, "unknown_user")


def test_nobody_befriends_oneself(site):
    status, answer = site.request("PUT", "/demo/friendships/ada/ada")
    assert (status, answer["error"]["code"]) == (422, "same_user")


def test_a_cookie_of_somebody_unknown_leads_to_the_choice(site, open_tab):
    tab = open_tab()
    stranger = site.token("nobody-of-the-demo")
    tab.context.add_cookies(
        [{"name": "presence_token", "value": stranger, "url": site.url()}]
    )
    tab.page.goto(site.url() + "/one")
    expect(tab.page.get_by_role("heading", name="Who is online?")).to_be_visible()


def test_people_are_named_as_the_graph_says(site):
    status, answer = site.request("GET", "/demo/people", token=site.token("edsger"))
    assert status == 200
    assert answer["data"] == {
        "user": {"id": "edsger", "display_name": "Edsger Dijkstra"},
        "people": [
            {"id": "ada", "display_name": "Ada Lovelace", "friend": False},
            {"id": "alan", "display_name": "Alan Turing", "friend": True},
        ],
        "conversations": [
            {"id": "engines", "title": "Engines", "participants": ["ada", "alan"]}
        ],
    }


@pytest.fixture
def side_by_side(site, open_tab):
    is_offline(site, "ada", "grace", "radia")
    tab = open_tab(outage=True, viewport={"width": 1280, "height": 900})
    tab.page.goto(site.url() + "/?user=ada&user=grace&user=radia")
    for user in ("ada", "grace", "radia"):
        expect(panel(tab.page, user).locator(".connection")).to_have_text("Live")
    expect(seen_by(tab.page, "grace", "ada")).to_have_text("Online")
    yield tab
    tab.page.close()
    site.admin("PUT", "/friendships/ada/grace", {"status": "accepted"})
    is_offline(site, "ada", "grace", "radia")


def panel(page: Page, user: str):
    return page.locator(f".panel[data-user={user}]")


def seen_by(page: Page, viewer: str, user: str):
    return panel(page, viewer).locator(f"[data-user={user}] .presence")


def press(page: Page, user: str, act: str) -> None:
    card = panel(page, user)
    wanted = {"name": act, "exact": True}
    folded = card.locator(".more:not([open])")
    if folded.get_by_role("button", **wanted, include_hidden=True).count():
        card.get_by_text("More", exact=True).click()
    card.get_by_role("button", **wanted).click()


def facts(page: Page, user: str):
    """What will happen to the user, and when."""
    return panel(page, user).locator(".countdown .fact")


def test_leave_and_connect(side_by_side):
    page = side_by_side.page
    press(page, "ada", "Sign out")
    expect(seen_by(page, "grace", "ada")).to_have_text("Last seen just now")
    expect(panel(page, "ada").locator(".connection")).to_have_text("Offline")
    expect(seen_by(page, "ada", "grace")).to_have_text("Status unknown")
    press(page, "ada", "Open the tab")
    expect(seen_by(page, "grace", "ada")).to_have_text("Online")
    expect(seen_by(page, "ada", "grace")).to_have_text("Online")
    frames = page.locator(".frame .event").all_text_contents()
    assert {"leave", "welcome", "presence_snapshot"} < set(frames)


def test_close(side_by_side):
    page = side_by_side.page
    press(page, "ada", "Close the tab")
    expect(facts(page, "ada")).to_have_text(
        re.compile("^(in [12] s|now|✓)Ada is offline: no reload within 2\\ss$")
    )
    expect(seen_by(page, "grace", "ada")).to_have_text("Last seen just now")
    expect(facts(page, "ada").locator(".time")).to_have_text("✓")
    press(page, "ada", "Open the tab")
    expect(seen_by(page, "grace", "ada")).to_have_text("Online")
    expect(facts(page, "ada")).to_have_count(0)


def test_a_cut_cable_turns_both_sides_grey(side_by_side, picture):
    page = side_by_side.page
    press(page, "ada", "Cut the cable")
    # Ada's page hears nothing: within one heartbeat interval it vouches for nobody.
    expect(seen_by(page, "ada", "grace")).to_have_text("Status unknown", timeout=2_600)
    assert seen_by(page, "grace", "ada").text_content() == "Online"
    unsure, offline = facts(page, "ada").all()
    expect(unsure).to_have_text(re.compile("^✓Ada sees no dots: .* for 2\\ss$"))
    expect(offline).to_have_text(
        re.compile("^in [1-6] sAda is offline: no heartbeat for 6\\ss$")
    )
    # The server hears nothing either: offline after the TTL and a sweep.
    expect(seen_by(page, "grace", "ada")).to_have_text("Last seen just now")
    expect(panel(page, "ada").locator(".connection")).to_have_text("Reconnecting…")
    expect(offline.locator(".time")).to_have_text("✓")
    picture(page, "side-by-side-cable-cut")
    press(page, "ada", "Plug it in again")
    expect(facts(page, "ada")).to_have_count(0)
    expect(seen_by(page, "grace", "ada")).to_have_text("Online")
    expect(seen_by(page, "ada", "grace")).to_have_text("Online")


def test_nobody_is_offline_before_the_countdown_has_ended(side_by_side):
    page = side_by_side.page
    page.evaluate("""() => {
        const dot = document.querySelector('.panel[data-user=grace] [data-user=ada]');
        const list = document.querySelector('.panel[data-user=ada] .countdown');
        window.left = [];
        new MutationObserver(() => {
            if (dot.dataset.presence === 'offline') {
                left.push(list.lastChild.textContent);
            }
        }).observe(dot, { attributes: true });
    }""")
    press(page, "ada", "Cut the cable")
    page.wait_for_function("() => left.length > 0", timeout=20_000)
    # The text may be a quarter of a second old.
    assert re.match("in 1 s|now|✓|!", page.evaluate("left[0]"))
    press(page, "ada", "Plug it in again")


STILL_ONLINE = "!Ada is still shown online. Is another tab or device connected?"


def test_a_user_with_another_tab_stays_online_and_the_countdown_says_so(
    site, side_by_side
):
    page = side_by_side.page
    with Client(site, "ada").opened():
        press(page, "ada", "Close the tab")
        expect(facts(page, "ada")).to_have_text(STILL_ONLINE, timeout=15_000)
        expect(seen_by(page, "grace", "ada")).to_have_text("Online")


def test_away_and_invisible_are_one_press_there_and_one_back(side_by_side):
    page = side_by_side.page
    row = panel(page, "grace").locator("[data-user=ada]")
    for act, look, back in (
        ("Go away", "away", "Come back"),
        ("Go invisible", "offline", "Be visible"),
    ):
        press(page, "ada", act)
        expect(row).to_have_attribute("data-look", look)
        press(page, "ada", back)
        expect(row).to_have_attribute("data-look", "online")


def test_stopped_heartbeats_end_in_4408_and_a_return(side_by_side):
    page = side_by_side.page
    press(page, "ada", "Stop heartbeats")
    closed = page.locator(".frame[data-direction=end] .event")
    expect(closed.first).to_have_text("close 4408", timeout=12_000)
    expect(panel(page, "ada").locator(".connection")).to_have_text("Live")
    expect(seen_by(page, "grace", "ada")).to_have_text("Online")


def test_befriend_and_unfriend(side_by_side):
    page = side_by_side.page
    expect(panel(page, "grace").locator("[data-user=radia]")).to_have_count(0)
    panel(page, "grace").get_by_text("More", exact=True).click()
    panel(page, "grace").locator("select").select_option("radia")
    press(page, "grace", "Befriend")
    expect(seen_by(page, "grace", "radia")).to_have_text("Online")
    expect(seen_by(page, "radia", "grace")).to_have_text("Online")
    press(page, "radia", "Unfriend Grace Hopper")
    expect(panel(page, "grace").locator("[data-user=radia]")).to_have_count(0)
    expect(panel(page, "radia").locator("[data-user=grace]")).to_have_count(0)


def test_panels_come_and_go(side_by_side):
    page = side_by_side.page
    page.get_by_label("One more user").select_option("alan")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(seen_by(page, "ada", "alan")).to_have_text("Online")
    press(page, "alan", "Remove this card")
    expect(panel(page, "alan")).to_have_count(0)
    expect(seen_by(page, "ada", "alan")).to_have_text(re.compile("Last seen"))


@pytest.mark.parametrize(
    ("shape", "scheme"),
    [
        ("desk", "light"),
        pytest.param("phone", "dark", marks=pytest.mark.slow),
        pytest.param("desk", "dark", marks=pytest.mark.slow),
        pytest.param("phone", "light", marks=pytest.mark.slow),
    ],
)
def test_pages_are_accessible_and_fit(site, open_tab, picture, scheme, shape):
    options = PHONE if shape == "phone" else {}
    tab = open_tab(color_scheme=scheme, **options)
    page = tab.page
    page.goto(site.url() + "/one")
    expect(page.get_by_role("button", name="Ada Lovelace")).to_be_visible()
    look(page, picture, f"welcome-{scheme}-{shape}")
    sign_in(page, site, "Ada Lovelace")
    expect(dot(page, "grace").locator(".presence")).not_to_have_text("…")
    look(page, picture, f"friends-{scheme}-{shape}")
    page.goto(site.url() + "/")
    for viewer, user in (("ada", "grace"), ("grace", "ada")):
        expect(seen_by(page, viewer, user)).to_have_text("Online")
    look(page, picture, f"front-{scheme}-{shape}")
    press(page, "ada", "Cut the cable")
    page.get_by_text("More", exact=True).first.click()
    look(page, picture, f"front-cut-{scheme}-{shape}")
    page.close()
    is_offline(site, "ada", "grace")


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_the_first_screen_shows_two_people_and_what_to_press(
    site, open_tab, width, height
):
    page = open_tab(viewport={"width": width, "height": height}).page
    page.goto(site.url() + "/")
    for viewer, user in (("ada", "grace"), ("grace", "ada")):
        expect(seen_by(page, viewer, user)).to_have_text("Online")
    for user in ("ada", "grace"):
        shown = panel(page, user).locator(".near .look, [data-action]:visible")
        assert shown.count() == 5
        for box in (one.bounding_box() for one in shown.all()):
            assert box["y"] >= 0
            assert box["y"] + box["height"] <= height
    if width < 1000:
        page.get_by_text("More", exact=True).first.click()
        assert page.evaluate(TOO_SMALL) == []
    page.close()
    is_offline(site, "ada", "grace")


TOO_SMALL = """() => [
    ...document.querySelectorAll('button, select, summary, nav a, .links a'),
]
    .filter((one) => one.checkVisibility())
    .filter((one) => one.getBoundingClientRect().height < 39.9)
    .map((one) => one.outerHTML)"""


def test_the_code_of_an_action_is_opened_and_copied(side_by_side):
    page = side_by_side.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    press(page, "ada", "Go invisible")
    opened = page.locator("#code details[open]")
    expect(opened).to_have_count(1)
    expect(opened.locator("summary")).to_have_text("Go invisible")
    button = opened.get_by_role("button", name="Copy the code")
    button.click()
    expect(button).to_have_text("Copied")
    expect(page.locator("#news")).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == opened.locator("code").text_content()
    assert 'visibility: "nobody"' in copied
    expect(button).to_have_text("Copy")
    press(page, "ada", "Be visible")  # the next tests have the same ada
    row = panel(page, "grace").locator("[data-user=ada]")
    expect(row).to_have_attribute("data-look", "online")


def test_without_a_clipboard_the_code_is_selected(site, open_tab):
    page = open_tab().page
    page.add_init_script("delete Navigator.prototype.clipboard")
    page.goto(site.url() + "/")
    opened = page.locator("#code details[open]")
    opened.get_by_role("button", name="Copy the code").click()
    expect(page.locator("#news")).to_have_text("Selected: press Ctrl+C")
    selected = page.evaluate("getSelection().toString()")
    assert selected.strip() == opened.locator("code").text_content().strip()
    page.close()
    is_offline(site, "ada", "grace")


def snippets(page: Page) -> dict[str, str]:
    """The code beside each action, by the name of the action."""
    found = page.locator("#code details").all()
    return {
        one.get_attribute("data-code"): one.locator("code").text_content()
        for one in found
    }


def test_the_code_in_the_browser_does_what_it_says(site, open_tab):
    page = open_tab().page
    page.goto(site.url() + "/?user=grace")
    code = snippets(page)
    show = code["show"].replace('"greendot-client"', '"/static/greendot/index.js"')
    found = re.fullmatch(r"import \{ (\w+) \}\s+from (\S+);(.*)", show, re.DOTALL)
    name, source, rest = found.groups()
    page.evaluate(
        f"""async ([url, token]) => {{
            const {{ {name} }} = await import({source});
            const dot = window.dot = {{ hidden: true }};
            {rest.replace("const presence =", "const presence = window.presence =")}
        }}""",
        [site.url(), site.token("ada")],
    )
    page.wait_for_function("() => dot.hidden === false")  # Grace has a card
    expect(seen_by(page, "grace", "ada")).to_have_text("Online")
    page.evaluate("() => { const banner = window.banner = {};" + code["cut"] + "\n}")
    page.evaluate("() => presence.store.setState({ stale: true })")
    assert page.evaluate("banner.hidden") is False
    page.evaluate("() => presence.store.setState({ stale: false })")
    assert page.evaluate("banner.hidden") is True

    row = panel(page, "grace").locator("[data-user=ada]")
    for action, look in (
        ("away", "away"),
        ("invisible", "offline"),
        ("idle", None),
        ("close", None),
        ("leave", None),
    ):
        page.evaluate("async () => {" + code[action] + "\n}")
        if look:
            expect(row).to_have_attribute("data-look", look)
    status, answer = site.request("GET", "/api/me/presence", token=site.token("ada"))
    assert status == 200
    assert (answer["data"]["visibility"], answer["data"]["text"]) == (
        "nobody",
        "At lunch",
    )
    defaults = dict.fromkeys(("visibility", "availability", "text", "expires_at"))
    site.request("PATCH", "/api/me/presence", defaults, token=site.token("ada"))
    page.close()
    is_offline(site, "ada", "grace")


def test_the_code_for_a_client_of_ones_own_keeps_it_online(site, open_tab):
    page = open_tab().page
    page.goto(site.url() + "/one")
    page.evaluate(
        """async ([url, token]) => {
            const answer = await fetch('/api/ws-ticket', {
                method: 'POST', headers: { Authorization: `Bearer ${token}` } });
            const { ticket } = (await answer.json()).data;
            window.events = [];
            window.socket = new WebSocket(`${url}/ws?ticket=${ticket}`);
            socket.onmessage = ({ data }) => {
                const frame = JSON.parse(data);
                if (frame.event === 'welcome') window.welcome = frame.data;
                events.push(frame.event);
            };
        }""",
        [site.url().replace("http", "ws"), site.token("margaret")],
    )
    page.wait_for_function("() => window.welcome !== undefined")
    page.evaluate("() => {" + snippets_of(site, open_tab)["freeze"] + "\n}")
    page.wait_for_function("() => events.includes('heartbeat_ack')")
    page.close()
    is_offline(site, "margaret")


def snippets_of(site, open_tab) -> dict[str, str]:
    page = open_tab().page
    page.goto(site.url() + "/?user=alan")
    found = snippets(page)
    page.close()
    return found


def test_the_code_for_a_server_does_what_it_says(site, open_tab):
    code = snippets_of(site, open_tab)
    environ = {**os.environ, "GREENDOT_URL": site.url(), "KEY": SERVICE_KEY}
    with Client(site, "grace").opened():
        for action in ("befriend", "ask"):
            done = subprocess.run(
                ["bash", "-ec", code[action].replace("curl", "curl -sSf", 1)],
                env=environ,
                capture_output=True,
                check=True,
            )
    statuses = json.loads(done.stdout)["data"]["statuses"]
    assert statuses["grace"] is True


def test_all_links_of_the_front_page_lead_somewhere(site, open_tab):
    page = open_tab().page
    page.goto(site.url() + "/?user=alan")
    links = page.eval_on_selector_all("a", "(all) => all.map(({ href }) => href)")
    assert {f"{site.url()}/docs/compare/", f"{site.url()}/admin"} < set(links)
    for link in links:
        assert page.request.get(link).status == 200, link
    page.close()
    is_offline(site, "alan")


def test_the_old_address_leads_to_the_front_page(site, open_tab):
    page = open_tab().page
    page.goto(site.url() + "/side-by-side?user=alan&user=edsger")
    expect(seen_by(page, "alan", "edsger")).to_have_text("Online")
    page.close()
    is_offline(site, "alan", "edsger")


def look(page: Page, picture, name: str) -> None:
    picture(page, name)
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    width = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert width <= 0, "the page is wider than the window"


def test_the_keyboard_is_enough(site, open_tab):
    tab = open_tab()
    page = tab.page
    page.goto(site.url() + "/one")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")  # the link in the text
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Ada Lovelace")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#connection")).to_have_text("Live")
    page.close()
    is_offline(site, "ada")


def test_without_the_demo_the_page_is_plain(site, open_tab):
    with site.another_web(PRESENCE_DEMO="0") as web:
        for method, path in (
            ("POST", "/demo/sign-in"),
            ("POST", "/demo/token"),
            ("GET", "/demo/people"),
            ("GET", "/one"),
            ("GET", "/side-by-side"),
            ("GET", "/docs/"),
            ("PUT", "/demo/friendships/ada/grace"),
        ):
            body = {} if method != "GET" else None
            status, _ = site.request(method, path, body, web=web)
            assert status == 404, path
        page = open_tab().page
        page.goto(site.url(web) + "/")
        heading = page.get_by_role("heading", name="Greendot is running")
        expect(heading).to_be_visible()
        assert page.get_by_role("button").count() == 0
