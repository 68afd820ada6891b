"""The operators' page in a browser."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from models.events import CloseCode
from tests.clients import Client
from tests.system import SERVICE_KEY

LOOKS = {
    "light": {"viewport": {"width": 1280, "height": 800}},
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}},
}


@pytest.mark.parametrize("look", LOOKS)
def test_an_operator_looks_and_disconnects(site, open_tab, picture, look):
    page = open_tab(**LOOKS[look]).page
    user = f"barbara-{look}"
    with Client(site, user).opened() as client:
        page.goto(site.url() + "/admin")
        page.get_by_label("Service key").fill(SERVICE_KEY)
        page.get_by_role("button", name="Sign in").click()
        change = page.locator(".recent li", has_text=user).first

        # The page fetches its state every few seconds, and when one looks at it again.
        for _ in range(20):
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
            if change.count():
                break
            page.wait_for_timeout(250)
        expect(change).to_contain_text("online")
        picture(page, f"operators-{look}")
        assert page.evaluate("document.documentElement.scrollWidth") <= page.evaluate(
            "innerWidth"
        )
        assert Axe().run(page).response["violations"] == []

        change.get_by_role("link").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("online")
        expect(
            page.get_by_role("heading", name="Why is this user green?")
        ).to_be_visible()
        picture(page, f"operators-user-{look}")
        assert Axe().run(page).response["violations"] == []
        page.get_by_role("button", name="Disconnect").click()
        page.get_by_role("button", name="Disconnect").click()
        expect(page.get_by_role("status")).to_contain_text("sockets of this user")
        assert client.expect_close() == CloseCode.FORBIDDEN
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Service key")).to_be_visible()
