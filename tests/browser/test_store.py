"""store.js in a real browser: Zustand's contract, and who wins when news collide."""

from __future__ import annotations

import pytest

CREATE = """async () => {
    const { createPresenceStore } = await import('/static/greendot/index.js');
    window.store = createPresenceStore();
    window.of = (...ids) => ids.map((id) => store.getState().statuses[id]);
    window.heard = [];
}"""


@pytest.fixture(scope="module")
def blank(site, chromium):
    page = chromium.new_page()
    page.goto(site.url() + "/healthz")
    yield page
    page.close()


@pytest.fixture
def store(blank):
    blank.evaluate(CREATE)
    return blank


def test_it_keeps_zustands_vanilla_contract(store):
    assert store.evaluate("""() => {
        const first = store.getState();
        const unsubscribe = store.subscribe((now, before) => heard.push([now, before]));
        store.setState({ connection: 'live' });
        const second = store.getState();
        store.setState(second);  // the same state: nobody is woken
        store.setState((state) => ({ stale: !state.stale }));
        const third = store.getState();
        unsubscribe();
        store.setState(store.getInitialState(), true);
        return {
            initial: first === store.getInitialState(),
            calls: heard.length,
            first: heard[0][0] === second && heard[0][1] === first,
            second: heard[1][0] === third && heard[1][1] === second,
            merged: [third.connection, third.stale],
            actions: third.setStatus === first.setStatus,
            reset: store.getState() === first,
        };
    }""") == {
        "initial": True,
        "calls": 2,
        "first": True,
        "second": True,
        "merged": ["live", False],
        "actions": True,
        "reset": True,
    }


def test_the_newest_timestamp_wins(store):
    assert store.evaluate("""() => {
        const { setStatus } = store.getState();
        setStatus('a', true, 100);
        store.subscribe(() => heard.push('woken'));
        setStatus('a', false, 99);
        setStatus('a', false, 100);
        const kept = of('a');
        setStatus('a', false, 101);
        return [kept, of('a'), heard];
    }""") == [[True], [False], ["woken"]]


def test_what_has_no_timestamp_never_overwrites_what_has_one(store):
    assert store.evaluate("""() => {
        const { setStatus, setMultipleStatuses } = store.getState();
        setMultipleStatuses({ a: true, b: true });
        setStatus('a', false, 5);
        setMultipleStatuses({ a: true, b: false, c: true });
        setStatus('a', true);
        return of('a', 'b', 'c');
    }""") == [False, False, True]


def test_nobody_is_online_while_stale(store):
    assert store.evaluate("""() => {
        const { setStatus, isOnline } = store.getState();
        setStatus('a', true, 1);
        const stale = isOnline('a');
        store.setState({ stale: false });
        return [stale, isOnline('a'), isOnline('b'), isOnline('constructor')];
    }""") == [False, True, False, False]


def test_a_snapshot_is_the_whole_map(store):
    assert store.evaluate("""() => {
        const { setStatus, setMultipleStatuses } = store.getState();
        setStatus('gone', true, 100);
        setMultipleStatuses({ unknown: true });
        setStatus('stays', true, 100);
        store.applySnapshot({
            stays: { status: 'offline', timestamp: 200, last_seen: 199 },
            fresh: { status: 'online', timestamp: 150, last_seen: 150 },
        });
        const { statuses, lastSeen } = store.getState();
        return { statuses, lastSeen };
    }""") == {
        "statuses": {"stays": False, "fresh": True},
        "lastSeen": {"stays": 199, "fresh": 150},
    }


def test_who_was_never_seen_has_no_last_seen(store):
    """Such a user becomes a friend: the event tells a status as of 0, which is 1970."""
    assert store.evaluate("""() => {
        store.getState().setStatus('never', false, 0);
        const wire = { status: 'offline', timestamp: 0, last_seen: null };
        const before = store.getState();
        store.applySnapshot({ never: wire, other: { ...wire, last_seen: 0 } });
        return [before.statuses, before.lastSeen, store.getState().lastSeen];
    }""") == [{"never": False}, {}, {}]


def test_a_snapshot_knows_better_when_somebody_was_seen(store):
    """An offline event is stamped when the deadline was over, which is later."""
    assert store.evaluate("""() => {
        const { setStatus } = store.getState();
        const live = new Set(['same', 'newer', 'forgotten']);
        for (const id of live) setStatus(id, false, 300);
        const before = store.getState().lastSeen;
        store.applySnapshot({
            same: { status: 'offline', timestamp: 300, last_seen: 240 },
            newer: { status: 'online', timestamp: 100, last_seen: 200 },
        }, live);
        const after = store.getState().lastSeen;
        store.applySnapshot({
            same: { status: 'offline', timestamp: 0, last_seen: null },
        });
        return [before, after, store.getState().lastSeen];
    }""") == [
        {"same": 300, "newer": 300, "forgotten": 300},
        {"same": 240, "newer": 300, "forgotten": 300},
        {},
    ]


def test_other_tabs_forget_it_too(blank):
    assert blank.evaluate("""async () => {
        const { applyDiff, stateDiff } =
            await import('/static/greendot/state-diff.js');
        const { createPresenceStore } = await import('/static/greendot/index.js');
        const [store, other] = [createPresenceStore(), createPresenceStore()];
        store.subscribe((state, previous) =>
            other.setState(applyDiff(other.getState(), stateDiff(previous, state))));
        store.getState().setStatus('a', false, 300);
        const before = other.getState().lastSeen;
        const wire = { status: 'offline', timestamp: 0, last_seen: null };
        store.applySnapshot({ a: wire });
        return [before, other.getState().lastSeen];
    }""") == [{"a": 300}, {}]


def test_live_news_outlive_a_snapshot_that_was_read_before_them(store):
    assert store.evaluate("""() => {
        const { setStatus } = store.getState();
        setStatus('newer', false, 300);
        setStatus('older', false, 100);
        setStatus('befriended', true, 300);
        store.applySnapshot({
            newer: { status: 'online', timestamp: 200, last_seen: 200 },
            older: { status: 'online', timestamp: 200, last_seen: 200 },
        }, new Set(['newer', 'older', 'befriended']));
        return store.getState().statuses;
    }""") == {"newer": False, "older": True, "befriended": True}


def test_a_forgotten_user_is_not_green_for_ever(store):
    """The server forgets offline users after a day: their snapshot has no timestamp."""
    assert store.evaluate("""() => {
        store.getState().setStatus('a', true, 100);
        const wire = { status: 'offline', timestamp: 0, last_seen: null };
        store.applySnapshot({ a: wire });
        const asleep = of('a');
        store.getState().setStatus('a', true, 50);
        return [asleep, of('a')];
    }""") == [[False], [True]]


def test_a_change_wakes_only_whom_it_concerns(store):
    assert store.evaluate("""() => {
        const { setStatus } = store.getState();
        store.setState({ stale: false });
        const stop = store.subscribeUser('a', () => heard.push('a'));
        store.subscribeUser('b', () => heard.push('b'));
        setStatus('a', true, 1);
        setStatus('c', true, 1);
        store.applySnapshot({
            a: { status: 'online', timestamp: 1, last_seen: 1 },
            b: { status: 'online', timestamp: 2, last_seen: 2 },
        });
        const alone = heard.splice(0);
        store.setState({ stale: true });
        const everyone = heard.splice(0);
        stop();
        setStatus('a', false, 9);
        return [alone, everyone, heard];
    }""") == [["a", "b"], ["a", "b"], []]


@pytest.mark.parametrize("name", ["constructor", "__proto__", "hasOwnProperty"])
def test_any_id_is_a_fine_id(store, name):
    assert store.evaluate(
        """(id) => {
        store.setState({ stale: false });
        const { setStatus, isOnline } = store.getState();
        const before = isOnline(id);
        setStatus(id, true, 7);
        const after = isOnline(id);
        const wire = `{"${id}": {"status": "offline", "timestamp": 8}}`;
        store.applySnapshot(JSON.parse(wire));
        return [before, after, isOnline(id), Object.keys(store.getState().statuses)];
    }""",
        name,
    ) == [False, True, False, [name]]


def test_the_wait_grows_with_the_outage_and_is_jittered(blank):
    assert blank.evaluate("""async () => {
        const { retryDelay } = await import('/static/greendot/backoff.js');
        const most = (outage) => retryDelay(outage, 0, () => 1);
        return [
            [0, 5_000, 60_000, 300_000, 9e9].map(most),
            retryDelay(60_000, 0, () => 0),
            retryDelay(60_000, 0, () => 0.5),
        ];
    }""") == [[1000, 1000, 6000, 30000, 30000], 0, 3000]


def test_who_was_told_to_wait_never_comes_at_once(blank):
    assert blank.evaluate("""async () => {
        const { retryDelay } = await import('/static/greendot/backoff.js');
        const { minRetryDelay } = await import('/static/greendot/protocol.js');
        return [1006, 4429, 1013, 1011, 4400, 1009, 1007, 1002].map((code) =>
            [0, 1].map((chance) => retryDelay(0, minRetryDelay(code), () => chance)));
    }""") == [
        [0, 1_000],
        *[[2_500, 5_000]] * 3,
        *[[30_000, 60_000]] * 4,
    ]


def test_which_close_codes_are_final(blank):
    assert blank.evaluate("""async () => {
        const { mayRetry } = await import('/static/greendot/protocol.js');
        return [1000, 1001, 1002, 1006, 1007, 1009, 1011, 1012, 1013, 4400, 4401, 4403,
            4408, 4429].filter((code) => !mayRetry(code));
    }""") == [4401, 4403]


DETAILS = """() => {
    const plain = { text: null, emoji: null, expires_at: null, since: 1 };
    window.detail = (availability, more) => ({ availability, ...plain, ...more });
    window.kinds = () => Object.fromEntries(Object.entries(store.getState().details)
        .map(([id, detail]) => [id, detail && detail.availability]));
}"""


@pytest.fixture
def details(store):
    store.evaluate(DETAILS)
    return store


def test_status_and_detail_have_one_sequence(details):
    assert details.evaluate("""() => {
        const { setStatus, setDetail } = store.getState();
        const seen = [];
        const see = () => seen.push([of('a')[0], kinds().a]);
        setStatus('a', true, 100, detail('active'));
        see();
        setDetail('a', detail('away'), 100);
        see();
        setDetail('a', detail('away'), 102);
        see();
        setStatus('a', false, 101, null);
        see();
        setDetail('a', detail('dnd'), 101);
        see();
        setStatus('a', false, 103, null);
        see();
        setStatus('a', true, 104, detail('dnd'));
        see();
        return seen;
    }""") == [
        [True, "active"],
        [True, "active"],
        [True, "away"],
        [True, "away"],
        [True, "away"],
        [False, None],
        [True, "dnd"],
    ]


def test_a_detail_changes_no_status_and_no_last_seen(details):
    assert details.evaluate("""() => {
        const { setStatus, setDetail } = store.getState();
        setStatus('off', false, 100, null);
        setStatus('on', true, 100, detail('active'));
        const before = store.getState();
        store.subscribe(() => heard.push('woken'));
        setDetail('off', detail('away'), 200);
        setDetail('unknown', detail('away'), 200);
        const ignored = heard.length === 0 && store.getState() === before;
        setDetail('on', detail('away'), 200);
        const { statuses, lastSeen, timestamps } = store.getState();
        return [ignored, kinds(), statuses === before.statuses,
            lastSeen === before.lastSeen, timestamps === before.timestamps];
    }""") == [True, {"off": None, "on": "away"}, True, True, True]


def test_a_snapshot_replaces_all_details(details):
    """Its timestamps are those of the statuses: the details in it may be newer."""
    assert details.evaluate("""() => {
        const { setStatus, setDetail } = store.getState();
        for (const id of ['newer', 'same', 'gone', 'leaves']) {
            setStatus(id, true, 100, detail('active'));
            setDetail(id, detail('away'), 150);
        }
        setStatus('newer', true, 300, detail('dnd'));
        const online = { status: 'online', timestamp: 100, last_seen: 100 };
        store.applySnapshot({
            newer: { ...online, timestamp: 200, detail: detail('active') },
            same: { ...online, detail: detail('dnd') },
            leaves: { ...online, status: 'offline', detail: null },
            plain: online,
        }, new Set(['newer', 'same', 'leaves']));
        const after = kinds();
        setDetail('same', detail('active'), 120);
        return [after, kinds().same];
    }""") == [{"newer": "dnd", "same": "dnd", "leaves": None}, "active"]


def test_rest_gives_details_until_the_socket_is_there(details):
    assert details.evaluate("""() => {
        const { setStatus, setMultipleStatuses } = store.getState();
        setStatus('b', true, 5, detail('dnd'));
        setMultipleStatuses(
            { a: true, b: true, c: false },
            { a: detail('away'), b: detail('active'), c: null },
        );
        return kinds();
    }""") == {"a": "away", "b": "dnd", "c": None}


def test_no_detail_is_shown_while_stale_or_offline(details):
    assert details.evaluate("""() => {
        const { setStatus, detailOf } = store.getState();
        setStatus('a', true, 1, detail('dnd'));
        const stale = detailOf('a');
        store.setState({ stale: false });
        const fresh = detailOf('a').availability;
        setStatus('plain', true, 1);
        setStatus('a', false, 2);
        return [stale, fresh, detailOf('a'), detailOf('plain'), detailOf('toString')];
    }""") == [None, "dnd", None, None, None]


def test_an_equal_detail_is_no_change(details):
    assert details.evaluate("""() => {
        store.setState({ stale: false });
        const { setStatus, setDetail, setMultipleStatuses } = store.getState();
        const lunch = () => detail('away', { text: 'lunch' });
        const entry = { status: 'online', timestamp: 1, last_seen: 1 };
        store.subscribeUser('a', () => heard.push(store.getState().detailOf('a')));
        setMultipleStatuses({ a: true }, { a: lunch() });
        const { a } = store.getState().details;
        heard.length = 0;
        store.subscribe(() => heard.push('woken'));
        setMultipleStatuses({ a: true }, { a: lunch() });
        const repeated = heard.length;
        store.applySnapshot({ a: { ...entry, detail: lunch() } });
        const kept = store.getState().details.a === a;
        heard.length = 0;
        const fields = { text: 'tea', emoji: '☕', expires_at: 9, since: 2 };
        let timestamp = 1;
        for (const [name, value] of Object.entries(fields)) {
            const { a: known } = store.getState().details;
            setDetail('a', { ...known, [name]: value }, ++timestamp);
        }
        return [repeated, kept, heard.filter((one) => one !== 'woken').length,
            store.getState().details.a];
    }""") == [
        0,
        True,
        4,
        {
            "availability": "away",
            "text": "tea",
            "emoji": "☕",
            "expires_at": 9,
            "since": 2,
        },
    ]


def test_other_tabs_follow_the_details(details):
    assert details.evaluate("""async () => {
        const { applyDiff, fullDiff, stateDiff } =
            await import('/static/greendot/state-diff.js');
        const { createPresenceStore } = await import('/static/greendot/index.js');
        const [other, late] = [createPresenceStore(), createPresenceStore()];
        const follow = (store, diff) =>
            store.setState(applyDiff(store.getState(), structuredClone(diff)));
        store.subscribe((state, previous) => follow(other, stateDiff(previous, state)));
        const { setStatus, setDetail } = store.getState();
        setStatus('a', true, 1, detail('active'));
        setStatus('plain', true, 1);
        const mine = { visibility: 'friends' };
        store.setState({ myPresence: mine });
        const before = other.getState().details.a;
        setStatus('b', true, 1, detail('dnd'));
        const kept = other.getState().details.a === before;
        setDetail('a', detail('away'), 2);
        setStatus('b', false, 2, null);
        follow(late, fullDiff(store.getState()));
        const read = ({ details, myPresence }) => ({ details, myPresence });
        const [wanted, ...seen] = [store, other, late]
            .map((one) => JSON.stringify(read(one.getState())));
        return [kept, kinds(), Object.keys(other.getState().details),
            seen.map((one) => one === wanted)];
    }""") == [True, {"a": "away", "b": None}, ["a", "b"], [True, True]]
