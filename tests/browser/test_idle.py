"""When a person counts as idle, and when the server hears of it. The page's clock and
timers are the test's, so nothing here waits."""

from __future__ import annotations

import pytest

START = """async ({ detects, idleAfter }) => {
    const { createIdle } = await import('/static/greendot/idle.js');
    const timers = new Set();
    window.time = 1e12;
    Date.now = () => time;
    window.schedules = 0;
    window.schedule = (delay, callback) => {
        const timer = { at: time + delay, callback };
        schedules += 1;
        timers.add(timer);
        return () => timers.delete(timer);
    };
    window.advance = (seconds) => {
        const end = time + seconds * 1000;
        for (;;) {
            const due = [...timers].filter(({ at }) => at <= end);
            if (due.length === 0) break;
            const next = due.reduce((one, two) => (two.at < one.at ? two : one));
            timers.delete(next);
            time = Math.max(time, next.at);
            next.callback();
        }
        time = end;
    };
    window.start = time;
    window.sent = [];
    window.posted = [];
    window.isOpen = true;
    window.idle?.stop();
    window.idle = createIdle({
        detects,
        send(idle) {
            if (isOpen) sent.push([(time - start) / 1000, idle]);
            return isOpen;
        },
        post: (message) => posted.push(message),
        schedule,
    });
    idle.start();
    if (idleAfter !== null) idle.onWelcome(idleAfter);
    window.input = () => dispatchEvent(new Event('pointerdown'));
    window.show = (shown) => {
        const state = { value: shown ? 'visible' : 'hidden', configurable: true };
        Object.defineProperty(document, 'visibilityState', state);
        document.dispatchEvent(new Event('visibilitychange'));
    };
}"""


def begin(page, *, detects: bool = True, idle_after: float | None = 300):
    """A page with a connection whose server says `idle_after` (seconds)."""
    page.evaluate(START, {"detects": detects, "idleAfter": idle_after})
    return page


@pytest.fixture
def blank(site, open_tab):
    page = open_tab().page
    page.goto(site.url() + "/healthz")
    return page


@pytest.fixture
def page(blank):
    return begin(blank)


@pytest.fixture
def phone(site, open_tab, playwright):
    device = dict(playwright.devices["Pixel 5"])
    del device["default_browser_type"]
    page = open_tab(**device).page
    page.goto(site.url() + "/healthz")
    return begin(page)


def test_nothing_is_sent_while_the_person_is_there(page):
    page.evaluate("advance(299.9)")
    assert page.evaluate("sent") == []
    page.evaluate("advance(0.1)")
    assert page.evaluate("sent") == [[300, True]]
    page.evaluate("advance(100000)")
    assert page.evaluate("sent") == [[300, True]]


INPUTS = {
    "pointer": lambda page: page.mouse.move(30, 40),
    "button": lambda page: page.mouse.click(10, 10),
    "key": lambda page: page.keyboard.press("a"),
    "wheel": lambda page: page.mouse.wheel(0, 100),
    "focus": lambda page: page.evaluate("dispatchEvent(new Event('focus'))"),
    "shown": lambda page: page.evaluate("show(true)"),
}


@pytest.mark.parametrize("name", INPUTS)
def test_input_moves_the_time_of_idleness(page, name):
    page.evaluate("advance(200)")
    INPUTS[name](page)
    page.wait_for_function("posted.length > 1")
    page.evaluate("advance(299)")
    assert page.evaluate("sent") == []
    page.evaluate("advance(1)")
    assert page.evaluate("sent") == [[500, True]]


@pytest.mark.parametrize("name", INPUTS)
def test_a_return_is_sent_at_once(page, name):
    page.evaluate("advance(301)")
    INPUTS[name](page)
    page.wait_for_function("sent.length === 2")
    assert page.evaluate("sent") == [[300, True], [301, False]]


def test_a_touch_is_input(phone):
    phone.evaluate("advance(301)")
    phone.touchscreen.tap(20, 20)
    phone.wait_for_function("sent.length === 2")


def test_a_page_that_scrolls_by_itself_has_no_person(page):
    page.evaluate("""() => {
        advance(301);
        document.body.style.height = '5000px';
        scrollTo(0, 1000);
        return new Promise((resolve) => requestAnimationFrame(() =>
            requestAnimationFrame(resolve)));
    }""")
    assert page.evaluate("[scrollY, sent]") == [1000, [[300, True]]]


def test_input_that_a_page_keeps_to_itself_counts(page):
    page.evaluate("""() => {
        advance(301);
        document.body.addEventListener('keydown', (event) => event.stopPropagation());
        document.body.dispatchEvent(new KeyboardEvent('keydown', { bubbles: true }));
    }""")
    assert page.evaluate("sent") == [[300, True], [301, False]]


def test_input_costs_no_timer_and_no_message_of_its_own(page):
    before = page.evaluate("[schedules, posted.length]")
    page.evaluate("""() => {
        for (let event = 0; event < 1000; event += 1) input();
    }""")
    assert page.evaluate("[schedules, posted.length]") == [before[0], before[1] + 1]


def test_all_listeners_are_passive(blank):
    blank.evaluate("""() => {
        window.added = [];
        const add = EventTarget.prototype.addEventListener;
        EventTarget.prototype.addEventListener = function (name, listener, options) {
            added.push([name, options?.passive === true]);
            return add.call(this, name, listener, options);
        };
    }""")
    begin(blank)
    added = dict(blank.evaluate("added"))
    for name in ("pointermove", "keydown", "wheel", "touchstart", "touchmove"):
        assert added[name] is True, name


def test_the_latest_input_counts_though_it_came_with_others(page):
    """The first input is passed on at once, those right after it are summed up."""
    begin(page, idle_after=0.4)  # so they are summed up for a tenth of a real second
    page.evaluate("input(), time += 300, input()")
    page.wait_for_function("posted.at(-1).lastInputAt === start + 300")
    page.evaluate("advance(0.399)")
    assert page.evaluate("sent") == []
    page.evaluate("advance(0.001)")
    assert page.evaluate("sent") == [[0.7, True]]


def test_once_a_minute_is_enough(page):
    page.evaluate("""() => {
        idle.setIdle(true);
        advance(1);
        idle.setIdle(false);
        advance(1);
        idle.setIdle(true);
        advance(58.9);
    }""")
    assert page.evaluate("sent") == [[0, True], [1, False]]
    page.evaluate("advance(0.1)")
    assert page.evaluate("sent") == [[0, True], [1, False], [61, True]]


def test_who_comes_back_within_the_minute_is_not_reported_at_its_end(page):
    page.evaluate("""() => {
        for (let second = 0; second < 50; second += 1) {
            idle.setIdle(second % 2 === 0);
            advance(1);
        }
        advance(1000);
    }""")
    assert page.evaluate("sent") == [[0, True], [1, False]]


def test_a_new_connection_hears_again_that_the_user_is_idle(page):
    page.evaluate("advance(301), isOpen = false, advance(5)")
    page.evaluate("isOpen = true, idle.onWelcome(300)")
    assert page.evaluate("sent") == [[300, True], [306, True]]


def test_a_new_connection_hears_nothing_of_a_user_who_came_back(page):
    page.evaluate("advance(301), isOpen = false, input(), advance(5)")
    page.evaluate("isOpen = true, idle.onWelcome(300)")
    assert page.evaluate("sent") == [[300, True]]
    page.evaluate("advance(295)")
    assert page.evaluate("sent") == [[300, True], [601, True]]


def test_what_happens_without_a_socket_is_told_to_the_next_one(page):
    page.evaluate("isOpen = false, advance(1000)")
    assert page.evaluate("sent") == []
    page.evaluate("isOpen = true, idle.onWelcome(300)")
    assert page.evaluate("sent") == [[1000, True]]


def test_a_server_that_takes_no_reports_gets_none(blank):
    page = begin(blank, idle_after=None)
    page.evaluate("idle.onWelcome(NaN), advance(1000), idle.setIdle(true)")
    assert page.evaluate("sent") == []


def test_without_detection_only_the_application_says_so(blank):
    page = begin(blank, detects=False)
    page.evaluate("advance(1000), show(false)")
    assert page.evaluate("sent") == []
    page.evaluate("idle.setIdle(true), input(), advance(1), idle.setIdle(false)")
    assert page.evaluate("sent") == [[1000, True], [1001, False]]


def test_what_the_application_says_wins_until_it_takes_it_back(page):
    page.evaluate("idle.setIdle(false), advance(1000)")
    assert page.evaluate("sent") == []
    page.evaluate("idle.setIdle(null)")
    assert page.evaluate("sent") == [[1000, True]]


def test_input_in_another_tab_counts(page):
    page.evaluate(
        "advance(200), idle.receive('b', { lastInputAt: time, shown: false })"
    )
    page.evaluate("advance(299)")
    assert page.evaluate("sent") == []
    page.evaluate("advance(2)")
    page.evaluate("idle.receive('b', { lastInputAt: time - 400000, shown: false })")
    assert page.evaluate("sent") == [[500, True]]
    page.evaluate("idle.receive('b', { lastInputAt: time, shown: false })")
    assert page.evaluate("sent") == [[500, True], [501, False]]


def test_every_tab_knows_what_the_application_said_in_one(page):
    page.evaluate("idle.receive('b', { byHand: true })")
    assert page.evaluate("sent") == [[0, True]]
    page.evaluate("posted.length = 0, idle.announce()")
    assert page.evaluate("posted[0].byHand") is True
    page.evaluate("idle.receive('b', { lastInputAt: time, shown: true })")
    assert page.evaluate("sent") == [[0, True]]
    page.evaluate("idle.receive('b', { byHand: null })")
    assert page.evaluate("sent") == [[0, True], [0, False]]


def test_a_new_tab_takes_back_nothing(page):
    """It knows nothing of what the application said in the others."""
    assert page.evaluate("posted.some((message) => 'byHand' in message)") is False


def test_a_hidden_page_on_a_desk_has_a_person_for_a_while(page):
    page.evaluate("advance(100), show(false), advance(199)")
    assert page.evaluate("sent") == []
    page.evaluate("advance(1)")
    assert page.evaluate("sent") == [[300, True]]


def test_a_phone_that_was_put_away_is_idle_at_once(phone):
    phone.evaluate("advance(10), show(false)")
    assert phone.evaluate("sent") == [[10, True]]
    phone.evaluate("advance(1), show(true)")
    assert phone.evaluate("sent") == [[10, True], [11, False]]


def test_a_phone_that_shows_another_tab_is_not_put_away(phone):
    phone.evaluate("idle.receive('b', { lastInputAt: time, shown: true }), show(false)")
    assert phone.evaluate("sent") == []
    phone.evaluate("idle.receive('c', { lastInputAt: time, shown: false })")
    assert phone.evaluate("sent") == []
    phone.evaluate("idle.receive('b', { lastInputAt: time, shown: false })")
    assert phone.evaluate("sent") == [[0, True]]


def test_after_its_end_it_hears_and_says_nothing(page):
    page.evaluate("idle.stop(), posted.length = 0, input(), show(false), advance(1000)")
    assert page.evaluate("[sent, posted]") == [[], []]


class Device:
    """The device below the page: Chromium lets a test say what it is doing."""

    def __init__(self, page) -> None:
        self._session = page.context.new_cdp_session(page)
        self._origin = page.evaluate("origin")

    def permit(self) -> None:
        target = self._session.send("Target.getTargetInfo")["targetInfo"]
        self._session.send(
            "Browser.setPermission",
            {
                "permission": {"name": "idle-detection"},
                "setting": "granted",
                "origin": self._origin,
                "browserContextId": target["browserContextId"],
            },
        )

    def set(self, *, in_use: bool, locked: bool) -> None:
        state = {"isUserActive": in_use, "isScreenUnlocked": not locked}
        self._session.send("Emulation.setIdleOverride", state)


SPY = """() => {
    window.asked = 0;
    IdleDetector.requestPermission = async () => {
        asked += 1;
        return 'denied';
    };
    window.watches = 0;
    const start = IdleDetector.prototype.start;
    IdleDetector.prototype.start = async function (...given) {
        await start.apply(this, given);
        watches += 1;
    };
}"""


@pytest.fixture
def device(blank):
    found = Device(blank)
    blank.evaluate(SPY)
    return found


def test_a_locked_screen_is_idle_at_once(blank, device):
    device.permit()
    device.set(in_use=True, locked=False)
    begin(blank)
    blank.wait_for_function("watches === 1")
    blank.evaluate("advance(10)")
    device.set(in_use=True, locked=True)
    blank.wait_for_function("sent.length === 1")
    blank.evaluate("advance(10)")
    device.set(in_use=True, locked=False)
    blank.wait_for_function("sent.length === 2")
    assert blank.evaluate("sent") == [[10, True], [20, False]]


def test_a_device_in_use_has_a_person_in_another_application(blank, device):
    device.permit()
    device.set(in_use=True, locked=False)
    begin(blank)
    blank.wait_for_function("watches === 1")
    blank.evaluate("advance(1000)")
    assert blank.evaluate("sent") == []
    device.set(in_use=False, locked=False)
    blank.wait_for_function("sent.length === 1")
    assert blank.evaluate("sent") == [[1000, True]]


def test_nobody_is_asked_for_a_permission(blank, device):
    device.set(in_use=True, locked=True)
    begin(blank)
    blank.evaluate("advance(299)")
    assert blank.evaluate("[asked, watches, sent]") == [0, 0, []]
    # The application has asked meanwhile.
    device.permit()
    blank.wait_for_function("watches === 1 && sent.length === 1")
    assert blank.evaluate("asked") == 0
