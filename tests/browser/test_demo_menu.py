"""The menu under a user's own name, and what the cards of the other users show.

All tests share one page with three cards. Grace is a friend of Ada, and Radia shares a
conversation with her. Ada's settings are the default ones when a test begins.
"""

from __future__ import annotations

import re
import time

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import OUTAGE, Tab, start_demo
from tests.browser.test_demo import panel, press, seen_by, sign_in
from tests.system import wait_until

USERS = ("ada", "grace", "radia")
PATH = "/api/me/presence"
LAYER = ("availability", "text", "emoji", "expires_at")
DEFAULTS = dict.fromkeys((*LAYER, "visibility", "last_seen", "exceptions"))
MINUTE = 60_000
ENDS_SOON = """(early) => {
    window.realNow = Date.now;
    Date.now = () => realNow() - early;
}"""


def open_cards(site, tab: Tab, *users: str) -> Page:
    page = tab.page
    page.set_default_timeout(10_000)
    page.goto(site.url() + "/?" + "&".join(f"user={one}" for one in users))
    for user in users:
        expect(panel(page, user).locator(".connection")).to_have_text("Live")
        expect(own_button(page, user)).to_be_enabled()
    return page


def new_tab(chromium) -> Tab:
    viewport = {"width": 1280, "height": 800}
    return Tab(chromium.new_context(viewport=viewport, reduced_motion="reduce"))


def close(tab: Tab) -> None:
    tab.context.close()
    assert [line for line in tab.console if not OUTAGE.search(line)] == []


@pytest.fixture(scope="module")
def cards(site, chromium):
    tab = new_tab(chromium)
    yield open_cards(site, tab, *USERS)
    for user in USERS:
        change(site, user, DEFAULTS)
    close(tab)
    wait_until(lambda: not any(site.is_online(user) for user in USERS))


@pytest.fixture
def page(site, cards):
    change(site, "ada", DEFAULTS)
    expect(row(cards, "grace", "ada")).to_have_attribute("data-look", "online")
    expect(row(cards, "grace", "ada").locator(".note")).to_be_hidden()
    expect(own_button(cards, "ada")).to_have_text("Active")
    expect(own(cards, "ada", ".own-privacy")).to_be_empty()
    yield cards
    cards.keyboard.press("Escape")
    cards.keyboard.press("Escape")
    cards.unroute_all()


def change(site, user: str, changes: dict) -> None:
    status, answer = site.request("PATCH", PATH, changes, token=site.token(user))
    assert status == 200, answer


def stored(site, user: str) -> dict:
    status, answer = site.request("GET", PATH, token=site.token(user))
    assert status == 200, answer
    return answer["data"]


def own(page: Page, user: str, selector: str):
    return panel(page, user).locator(selector)


def own_button(page: Page, user: str):
    return own(page, user, ".own-button")


def row(page: Page, viewer: str, user: str):
    return panel(page, viewer).locator(f".person[data-user={user}]")


def note(page: Page, viewer: str, user: str):
    return row(page, viewer, user).locator(".note")


def problem(page: Page, user: str):
    return panel(page, user).get_by_role("alert")


def choose(page: Page, user: str, item: str) -> None:
    own_button(page, user).click()
    panel(page, user).get_by_role("menu").get_by_text(item, exact=True).click()


def form(page: Page, user: str, item: str):
    """Open a form by the menu's item `item`."""
    choose(page, user, item)
    return panel(page, user).locator("form.settings")


def save(page: Page, user: str) -> None:
    press(page, user, "Save")
    expect(panel(page, user).locator("form.settings")).to_have_count(0)


# --- Availability


def test_each_item_looks_different_to_the_others(page):
    shapes = set()
    for item, look, text in (
        ("Away", "away", "Away"),
        ("Do not disturb", "dnd", "Do not disturb"),
        ("Active", "online", "Online"),
        ("Invisible", "offline", "Last seen just now"),
    ):
        choose(page, "ada", item)
        for viewer in ("grace", "radia"):
            shown = row(page, viewer, "ada")
            expect(shown).to_have_attribute("data-look", look)
            expect(shown.locator(".presence")).to_have_text(text)
        expect(own_button(page, "ada")).to_have_accessible_name(
            f"Presence of Ada Lovelace: {item}"
        )
        shapes.add(row(page, "grace", "ada").locator("path").get_attribute("d"))
    assert len(shapes) == 4


def test_invisible_looks_like_offline_and_the_own_card_says_so(page):
    press(page, "ada", "Sign out")
    expect(row(page, "grace", "ada")).to_have_attribute("data-look", "offline")
    offline = row(page, "grace", "ada").inner_html()
    press(page, "ada", "Open the tab")
    expect(row(page, "grace", "ada")).to_have_attribute("data-look", "online")

    choose(page, "ada", "Invisible")
    expect(row(page, "grace", "ada")).to_have_attribute("data-look", "offline")
    assert row(page, "grace", "ada").inner_html() == offline
    expect(own_button(page, "ada")).to_have_text("Invisible")
    expect(own(page, "ada", ".own-privacy")).to_have_text(
        "The others see you as offline."
    )
    expect(own(page, "ada", ".connection")).to_have_text("Live")
    expect(seen_by(page, "ada", "grace")).to_have_text("Online")

    choose(page, "ada", "Do not disturb")
    expect(seen_by(page, "grace", "ada")).to_have_text("Do not disturb")


def test_after_hiding_the_same_users_see_the_user_as_before(site, page):
    change(site, "ada", {"visibility": "friends"})
    expect(own(page, "ada", ".own-privacy")).to_have_text("Only friends see you.")
    choose(page, "ada", "Invisible")
    expect(row(page, "grace", "ada")).to_have_attribute("data-look", "offline")
    choose(page, "ada", "Active")
    expect(row(page, "grace", "ada")).to_have_attribute("data-look", "online")
    expect(row(page, "radia", "ada")).to_have_attribute("data-look", "offline")
    assert stored(site, "ada")["visibility"] == "friends"


def test_a_user_steps_away_and_comes_back(page):
    press(page, "ada", "Step away")
    expect(seen_by(page, "grace", "ada")).to_have_text("Away")
    expect(own_button(page, "ada")).to_have_text("Away")
    expect(own(page, "ada", ".own-privacy")).to_have_text("Stepped away.")
    press(page, "ada", "Step away")
    expect(seen_by(page, "grace", "ada")).to_have_text("Online")
    expect(own_button(page, "ada")).to_have_text("Active")

    # A client reports at most once a minute that its user is idle.
    press(page, "ada", "Step away")
    expect(own(page, "ada", ".own-privacy")).to_have_text(
        "Stepped away. The client reports this within a minute."
    )
    press(page, "ada", "Step away")
    expect(own(page, "ada", ".own-privacy")).to_be_empty()


def test_all_devices_of_a_user_show_the_same(site, page, open_tab):
    other = open_tab().page
    sign_in(other, site, "Ada Lovelace")
    expect(other.locator("#friends [data-user=grace]")).to_be_visible()
    other.get_by_role("button", name="Presence of Ada Lovelace").click()
    other.get_by_role("menuitemradio", name="Do not disturb").click()
    expect(own_button(page, "ada")).to_have_text("Do not disturb")
    expect(seen_by(page, "grace", "ada")).to_have_text("Do not disturb")
    # A screen reader hears of the friends.
    choose(page, "grace", "Away")
    expect(other.locator("#news")).to_have_text("Grace Hopper: Away")
    choose(page, "grace", "Active")
    expect(other.locator("#news")).to_have_text("Grace Hopper: Online")


# --- Text, emoji and end


def test_text_and_emoji_are_seen_with_their_end(site, page):
    fields = form(page, "ada", "Text and emoji…")
    fields.get_by_label("Emoji").fill("🎧")
    fields.get_by_label("Text").fill("<b>Writing</b> a compiler")
    fields.get_by_label("End").select_option("For 1 hour")
    before = time.time() * 1000
    save(page, "ada")
    end = stored(site, "ada")["expires_at"]
    assert before <= end - 60 * MINUTE <= time.time() * 1000
    for line in (note(page, "grace", "ada"), own(page, "ada", ".own-note")):
        expect(line).to_have_text(
            re.compile(r"^🎧 <b>Writing</b> a compiler until (.*, )?\d\d:\d\d $")
        )
        assert line.locator("b").count() == 0

    # The end stays if the user changes only the text.
    fields = form(page, "ada", "Text and emoji…")
    expect(fields.get_by_label("Emoji")).to_have_value("🎧")
    fields.get_by_label("Text").fill("Reading")
    save(page, "ada")
    expect(note(page, "grace", "ada")).to_contain_text("🎧 Reading until")
    assert stored(site, "ada")["expires_at"] == end

    choose(page, "ada", "Clear text and emoji")
    expect(note(page, "grace", "ada")).to_be_hidden()
    assert stored(site, "ada")["expires_at"] is None


def test_the_other_ends(site, page):
    fields = form(page, "ada", "Text and emoji…")
    fields.get_by_role("button", name="At lunch").click()
    fields.get_by_label("End").select_option("For 30 minutes")
    before = time.time() * 1000
    save(page, "ada")
    expect(note(page, "grace", "ada")).to_contain_text("🍜 At lunch until")
    end = stored(site, "ada")["expires_at"]
    assert before <= end - 30 * MINUTE <= time.time() * 1000

    fields = form(page, "ada", "Text and emoji…")
    fields.get_by_label("End").select_option("Until tomorrow")
    save(page, "ada")
    expect(note(page, "grace", "ada")).to_have_text("🍜 At lunch until tomorrow ")
    end = stored(site, "ada")["expires_at"]
    midnight = "(end) => new Date(end).toTimeString().startsWith('00:00:00')"
    assert page.evaluate(midnight, end)
    assert 0 < end - time.time() * 1000 <= 25 * 60 * MINUTE

    fields = form(page, "ada", "Text and emoji…")
    fields.get_by_label("End").select_option("never")
    save(page, "ada")
    expect(note(page, "grace", "ada")).to_have_text("🍜 At lunch ")
    assert stored(site, "ada")["expires_at"] is None


def test_an_end_passes(page):
    choose(page, "ada", "Do not disturb")
    fields = form(page, "ada", "Text and emoji…")
    fields.get_by_label("Text").fill("Just a moment")
    fields.get_by_label("End").select_option("For 30 minutes")
    page.evaluate("""() => {
        const line = document.querySelector(
            '.panel[data-user=grace] .person[data-user=ada] .note');
        window.seen = [];
        new MutationObserver(() => seen.push(line.textContent))
            .observe(line, { childList: true });
    }""")
    # With a clock that is late, the end comes after some seconds.
    page.evaluate(ENDS_SOON, 30 * MINUTE - 4_000)
    save(page, "ada")
    page.evaluate("Date.now = realNow")
    page.wait_for_function(
        "seen.some((text) => text.startsWith('Just a moment until'))"
    )
    expect(note(page, "grace", "ada")).to_be_hidden(timeout=15_000)
    expect(seen_by(page, "grace", "ada")).to_have_text("Online")
    expect(own_button(page, "ada")).to_have_text("Active")
    expect(own(page, "ada", ".own-note")).to_be_hidden()


# --- Who sees whom


def test_friends_only(page):
    fields = form(page, "ada", "Who sees me…")
    fields.get_by_label("Who may see me").select_option("Friends")
    save(page, "ada")
    expect(row(page, "radia", "ada")).to_have_attribute("data-look", "offline")
    expect(row(page, "grace", "ada")).to_have_attribute("data-look", "online")
    expect(own(page, "ada", ".own-privacy")).to_have_text("Only friends see you.")


def test_exceptions(site, page):
    fields = form(page, "ada", "Who sees me…")
    fields.get_by_label("Grace Hopper").select_option("Never sees me")
    save(page, "ada")
    expect(row(page, "grace", "ada")).to_have_attribute("data-look", "offline")
    expect(row(page, "radia", "ada")).to_have_attribute("data-look", "online")
    expect(own(page, "ada", ".own-privacy")).to_have_text("Never seen by Grace Hopper.")

    fields = form(page, "ada", "Who sees me…")
    expect(fields.get_by_label("Grace Hopper")).to_have_value("never")
    fields.get_by_label("Grace Hopper").select_option("As above")
    fields.get_by_label("Radia Perlman").select_option("Always sees me")
    fields.get_by_label("Who may see me").select_option("Nobody")
    save(page, "ada")
    expect(row(page, "grace", "ada")).to_have_attribute("data-look", "offline")
    expect(row(page, "radia", "ada")).to_have_attribute("data-look", "online")
    expect(own_button(page, "ada")).to_have_text("Invisible")
    exceptions = stored(site, "ada")["exceptions"]
    assert exceptions == {"always": ["radia"], "never": []}


def test_an_exception_for_a_stranger_can_be_removed(site, page):
    change(site, "ada", {"exceptions": {"always": [], "never": ["linus", "grace"]}})
    expect(own(page, "ada", ".own-privacy")).to_contain_text("Never seen by")
    fields = form(page, "ada", "Who sees me…")
    fields.get_by_label("Grace Hopper").select_option("Always sees me")
    save(page, "ada")
    exceptions = {"always": ["grace"], "never": ["linus"]}
    assert stored(site, "ada")["exceptions"] == exceptions
    fields = form(page, "ada", "Who sees me…")
    fields.get_by_label("linus").select_option("As above")
    save(page, "ada")
    assert stored(site, "ada")["exceptions"] == {"always": ["grace"], "never": []}


def test_last_seen(page):
    fields = form(page, "ada", "Who sees me…")
    fields.get_by_label("Who sees my last seen").select_option("Friends")
    save(page, "ada")
    expect(own(page, "ada", ".own-privacy")).to_have_text("Last seen: friends.")
    press(page, "ada", "Sign out")
    for viewer, shown in (("grace", "Last seen just now"), ("radia", "Offline")):
        press(page, viewer, "Sign out")
        press(page, viewer, "Open the tab")
        expect(seen_by(page, viewer, "ada")).to_have_text(shown)
    press(page, "ada", "Open the tab")


# --- Keyboard and screen reader


def test_the_keyboard_is_enough_for_the_menu(page):
    button = own_button(page, "ada")
    menu = panel(page, "ada").get_by_role("menu")

    def focused(name: str) -> None:
        expect(menu.locator(":focus")).to_have_text(name)

    button.focus()
    expect(button).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-expanded", "true")
    focused("Active")  # the one that is checked
    for key, name in (
        ("ArrowDown", "Away"),
        ("ArrowUp", "Active"),
        ("ArrowUp", "Who sees me…"),
        ("ArrowDown", "Active"),
        ("End", "Who sees me…"),
        ("Home", "Active"),
        ("i", "Invisible"),
        ("a", "Active"),
        ("a", "Away"),
    ):
        page.keyboard.press(key)
        focused(name)
    page.keyboard.press("Escape")
    expect(menu).to_be_hidden()
    expect(button).to_be_focused()
    expect(button).to_have_text("Active")  # Escape chooses nothing

    page.keyboard.press("ArrowUp")
    focused("Who sees me…")
    page.keyboard.press("Tab")
    expect(menu).to_be_hidden()

    button.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("d")
    page.keyboard.press("Enter")
    expect(menu).to_be_hidden()
    expect(button).to_be_focused()
    expect(seen_by(page, "grace", "ada")).to_have_text("Do not disturb")
    expect(button).to_have_text("Do not disturb")  # the answer may come after that
    page.keyboard.press("Enter")
    focused("Do not disturb")


def test_the_focus_goes_into_a_form_and_comes_back(page):
    button = own_button(page, "ada")
    for leave in ("Escape", "Cancel", "Save"):
        choose(page, "ada", "Text and emoji…")
        fields = panel(page, "ada").get_by_role("form", name="Text and emoji")
        expect(fields.get_by_label("Emoji")).to_be_focused()
        if leave == "Escape":
            page.keyboard.press("Escape")
        else:
            press(page, "ada", leave)
        expect(fields).to_have_count(0)
        expect(button).to_be_focused()


def test_a_click_elsewhere_closes_the_menu(page):
    own_button(page, "ada").click()
    menu = panel(page, "ada").get_by_role("menu")
    expect(menu).to_be_visible()
    page.get_by_role("heading", name="Show who is online").click()
    expect(menu).to_be_hidden()


@pytest.mark.parametrize(
    ("scheme", "width"),
    [("light", 390), pytest.param("dark", 1280, marks=pytest.mark.slow)],
)
def test_menu_and_forms_are_accessible_and_fit(page, picture, scheme, width):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 844})
    choose(page, "grace", "Away")
    for item in (None, "Text and emoji…", "Who sees me…"):
        own_button(page, "ada").click()
        if item is not None:
            menu = panel(page, "ada").get_by_role("menu")
            menu.get_by_text(item, exact=True).click()
        results = Axe().run(page, ".panel[data-user=ada]")
        assert results.violations_count == 0, results.generate_report()
        too_wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert too_wide <= 0
        picture(page, f"menu-{scheme}-{item or 'open'}".replace("…", ""))
        page.keyboard.press("Escape")
    choose(page, "grace", "Active")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1280, "height": 800})


# --- Changes that fail


def test_without_a_connection_nothing_is_lost(site, page):
    fields = form(page, "ada", "Text and emoji…")
    fields.get_by_label("Text").fill("Still here")
    press(page, "ada", "Cut the cable")
    press(page, "ada", "Save")
    expect(problem(page, "ada")).to_have_text(
        "The server does not answer. Your change may not be saved."
    )
    expect(fields.get_by_label("Text")).to_have_value("Still here")
    press(page, "ada", "Plug it in again")
    save(page, "ada")
    expect(problem(page, "ada")).to_be_empty()
    expect(note(page, "grace", "ada")).to_have_text("Still here ")
    assert stored(site, "ada")["text"] == "Still here"


def test_a_server_that_cannot_do_it_now_is_asked_again(page):
    page.route("**" + PATH, lambda route: route.fulfill(status=503, json={}))
    choose(page, "ada", "Away")
    expect(problem(page, "ada")).to_have_text(
        "Not saved: the server cannot do this now (503). Try again soon."
    )
    expect(own_button(page, "ada")).to_have_text("Active")
    page.unroute_all()
    press(page, "ada", "Try again")
    expect(own_button(page, "ada")).to_have_text("Away")
    expect(own_button(page, "ada")).to_be_focused()
    expect(problem(page, "ada")).to_be_empty()
    expect(panel(page, "ada").get_by_role("button", name="Try again")).to_have_count(0)


def test_a_wrong_value_is_explained(page):
    fields = form(page, "ada", "Text and emoji…")
    fields.get_by_label("Emoji").fill("ok")
    press(page, "ada", "Save")
    expect(problem(page, "ada")).to_have_text("Not saved: emoji: takes one emoji.")
    expect(fields.get_by_label("Emoji")).to_have_value("ok")


def test_settings_that_could_not_be_read_are_read_again(page):
    page.route("**" + PATH, lambda route: route.fulfill(status=503, json={}))
    page.get_by_label("One more user").select_option("alan")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(problem(page, "alan")).to_contain_text("(503)")
    expect(own_button(page, "alan")).to_be_disabled()
    page.unroute_all()
    press(page, "alan", "Try again")
    expect(own_button(page, "alan")).to_have_text("Active")
    expect(problem(page, "alan")).to_be_empty()
    press(page, "alan", "Remove this card")


REFUSAL = "Not saved: users of this server may not hide from others."


def test_where_nobody_may_hide_the_menu_says_so(page):
    error = {"code": "not_allowed", "message": "users of this server may not hide"}

    def refuse(route):
        changes = route.request.post_data_json or {}
        if changes.keys() & {"visibility", "exceptions"}:
            route.fulfill(status=403, json={"error": error})
        else:
            route.continue_()

    page.route("**" + PATH, refuse)
    nobody_may_hide(page)
    press(page, "ada", "Cancel")
    expect(own_button(page, "ada")).to_be_focused()
    expect(problem(page, "ada")).to_be_empty()
    choose(page, "ada", "Away")
    expect(seen_by(page, "grace", "ada")).to_have_text("Away")


def nobody_may_hide(page: Page) -> None:
    """Ada tries to hide, and the server refuses it. The form is left open."""
    choose(page, "ada", "Invisible")
    expect(problem(page, "ada")).to_have_text(REFUSAL)
    retry = panel(page, "ada").get_by_role("button", name="Try again")
    expect(retry).to_have_count(0)
    expect(own_button(page, "ada")).to_have_text("Active")

    fields = form(page, "ada", "Who sees me…")
    expect(problem(page, "ada")).to_be_empty()
    fields.get_by_label("Grace Hopper").select_option("Never sees me")
    press(page, "ada", "Save")
    expect(problem(page, "ada")).to_have_text(REFUSAL)
    expect(fields.get_by_label("Grace Hopper")).to_have_value("never")
    expect(seen_by(page, "grace", "ada")).to_have_text("Online")


@pytest.mark.slow
def test_a_server_without_hiding_refuses_it(chromium):
    site = start_demo(webs=1, PRESENCE_ALLOW_INVISIBLE="0")
    tab = new_tab(chromium)
    try:
        page = open_cards(site, tab, "ada", "grace")
        nobody_may_hide(page)
        fields = form(page, "ada", "Who sees me…")
        fields.get_by_label("Who may see me").select_option("Friends")
        save(page, "ada")
        expect(seen_by(page, "grace", "ada")).to_have_text("Online")
        close(tab)
    finally:
        site.close()
