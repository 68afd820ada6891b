/**
 * One socket for all tabs of a browser that show the same user. A lock of the browser
 * (Web Locks) makes one tab the leader: it alone has a connection, and tells the others
 * by BroadcastChannel. When its tab is closed, the next in the queue leads.
 */

import { watchPage } from "./page.js";
import { applied, patchBetween, wholePatch } from "./patches.js";
import { CLOSE } from "./protocol.js";
import { after } from "./timers.js";

/** @typedef {import("./connection.js").Connection} Connection */
/** @typedef {import("./patches.js").Patch} Patch */
/** @typedef {import("./store.js").PresenceStore} PresenceStore */

/**
 * What tabs say to each other. Followers ask, the leader tells.
 *
 * @typedef {Patch & {
 *   from: string,
 *   kind: "hello" | "wake" | "retry" | "leave" | "left" | "denied" | "patch",
 *   to?: string, code?: number, reason?: string, interval?: number,
 * }} Message
 */

const LEAVE_TIMEOUT = 2_000;
// The lock outlives the goodbye a little, so that nobody leads on before hearing it.
const LOCK_AFTER_LEFT = 300;
const BEAT_SHARE = 0.75; // as for the server's heartbeats: silence shows in one interval
// A leader that is silent for so long is frozen: intervals, and milliseconds at least.
const STEAL_AFTER = 1.5;
const STEAL_AFTER_LEAST = 5_000;
const LATE = 1_000; // a timer that fires so late: this page did not run meanwhile

/**
 * Locks are in secure contexts only (https, or localhost). Both may be there and still be
 * refused: in a sandboxed frame, or where the user forbids a site to store anything.
 *
 * @returns {Promise<boolean>}
 */
export async function canShare() {
  if (typeof location === "undefined") return false; // Deno has both, but no tabs
  try {
    new BroadcastChannel("greendot").close();
    await navigator.locks.query();
    return true;
  } catch {
    return false;
  }
}

/**
 * @param {string} name the same in all tabs of one user, and in no other
 * @param {PresenceStore} store
 * @param {Connection} own used while this tab leads
 * @param {(code: number, reason: string) => void} onDenied another tab was refused for all
 *   of us
 * @returns {Connection & {
 *   hush: () => void, denied: (code: number, reason: string) => void,
 * }} `hush`: `own` stops by itself, which is no news for tabs that go on; `denied`: it was
 *   refused
 */
export function shareAmongTabs(name, store, own, onDenied) {
  const me = Math.random().toString(36).slice(2);
  /** @type {BroadcastChannel | null} */
  let channel = null;
  /** @type {AbortController | null} */
  let waiting = null;
  let leading = false;
  let release = () => {};
  /** @type {string | null} whose patches are understood: its whole map has come */
  let leader = null;
  let interval = own.interval();
  const nothing = () => {};
  let unsubscribe = nothing;
  let stopWatching = nothing;
  let cancelBeat = nothing;
  let cancelQuiet = nothing;
  let cancelSteal = nothing;
  let onLeft = nothing;

  /** @param {Omit<Message, "from">} message */
  const post = (message) => channel?.postMessage({ from: me, ...message });

  function connect() {
    if (channel !== null) return;
    channel = new BroadcastChannel(name);
    channel.onmessage = ({ data }) => receive(data);
    follow();
  }

  // --- Following

  function follow() {
    leader = null;
    store.setState({ connection: "reconnecting", stale: true });
    stopWatching = watchPage({
      // Not for how long this page slept: its leader's may have been awake.
      onWake: () => post({ kind: "wake" }),
      onOffline: nothing, // the leader sees it too, and tells
    });
    queue(false);
    post({ kind: "hello" });
    expectLeader();
  }

  /** @param {boolean} steal */
  function queue(steal) {
    waiting?.abort();
    const ours = new AbortController();
    waiting = ours;
    const options = steal ? { steal } : { signal: ours.signal };
    navigator.locks
      .request(name, options, () => {
        if (waiting !== ours || channel === null) return undefined;
        return new Promise((resolve) => lead(() => resolve(undefined)));
      })
      .catch(() => {
        // Aborted by ourselves, or stolen from us: our page was frozen too long.
        if (leading && waiting === ours) stepDown();
      });
  }

  function expectLeader() {
    cancelQuiet();
    cancelSteal();
    cancelQuiet = after(interval, () =>
      store.setState({ connection: "reconnecting", stale: true }),
    );
    // Not all at once: the first to take over greets the others.
    const known = leader === null ? 0 : interval * STEAL_AFTER;
    const patience = Math.max(STEAL_AFTER_LEAST, known) * (1 + Math.random() / 2);
    const due = Date.now() + patience;
    const steal = () => queue(true);
    cancelSteal = after(patience, () => {
      if (Date.now() - due < LATE) return steal();
      // After a sleep of our own, what the leader said may just not be read yet: ask.
      cancelSteal = after(STEAL_AFTER_LEAST, steal);
      post({ kind: "hello" });
    });
  }

  function stopFollowing() {
    stopWatching();
    cancelQuiet();
    cancelSteal();
  }

  /** @param {Message} message */
  function apply(message) {
    if (message.to !== undefined && message.to !== me) {
      if (leader === message.from) expectLeader(); // not for us, but a sign of life
      return;
    }
    if (message.whole !== true && leader !== message.from) {
      post({ kind: "hello" }); // a leader whom we do not know yet
      return;
    }
    leader = message.from;
    interval = message.interval ?? interval;
    expectLeader();
    const state = store.getState();
    const next = applied(state, message);
    const isNews = next.statuses !== undefined || next.stale !== state.stale;
    if (isNews || next.connection !== state.connection) store.setState(next);
  }

  // --- Leading

  /** @param {() => void} unlock */
  function lead(unlock) {
    leading = true;
    release = unlock;
    stopFollowing();
    own.connect(interval);
    tellAll();
    unsubscribe = store.subscribe((state, previous) => {
      tell(patchBetween(previous, state));
    });
    waitToBeat();
  }

  /** Every word to the others is a sign of life; where there is none, a beat is. */
  function waitToBeat() {
    cancelBeat();
    cancelBeat = after(own.interval() * BEAT_SHARE, () => {
      const { connection, stale } = store.getState();
      tell({ connection, stale });
    });
  }

  /** @param {Patch & {to?: string}} patch */
  function tell(patch) {
    post({ kind: "patch", interval: own.interval(), ...patch });
    waitToBeat();
  }

  /** @param {string} [to] */
  function tellAll(to) {
    tell({ ...wholePatch(store.getState()), ...(to === undefined ? {} : { to }) });
  }

  function hush() {
    unsubscribe();
    cancelBeat();
  }

  function stopLeading() {
    leading = false;
    hush();
  }

  function stepDown() {
    stopLeading();
    own.close();
    follow();
  }

  // --- Both

  /** @param {Message} message */
  function receive(message) {
    const { kind } = message;
    if (kind === "left" || kind === "denied") {
      if (leading) own.close();
      stop();
      if (kind === "denied") onDenied(message.code ?? 0, message.reason ?? "");
      onLeft();
    } else if (leading) {
      if (kind === "hello") tellAll(message.from);
      else if (kind === "wake") own.wake(0);
      else if (kind === "retry") own.retryNow();
      else if (kind === "leave") void leave();
    } else if (kind === "patch") apply(message);
  }

  async function leave() {
    if (channel === null) return;
    if (leading) {
      stopLeading(); // first: what follows is said here and by "left"
      post({ kind: "patch", connection: "offline", stale: true });
      await own.leave();
      post({ kind: "left" });
      stop();
      return;
    }
    /** @type {Promise<void>} */
    const left = new Promise((resolve) => {
      const cancel = after(LEAVE_TIMEOUT, resolve);
      onLeft = () => {
        cancel();
        resolve();
      };
    });
    post({ kind: "leave" });
    await left;
    stop();
  }

  function stop() {
    if (channel === null) return;
    stopFollowing();
    if (leading) stopLeading();
    const unlock = release;
    release = nothing;
    after(LOCK_AFTER_LEFT, unlock);
    waiting?.abort();
    waiting = null;
    // Closing at once would drop what was just posted in some browsers.
    const old = channel;
    channel = null;
    old.onmessage = null;
    after(0, () => old.close());
    store.setState({ connection: "offline", stale: true });
  }

  /** Out of it without a word: the next tab leads at once. */
  function resign() {
    const led = leading;
    const unlock = release;
    const old = channel;
    release = nothing;
    stop();
    if (led) own.close();
    unlock();
    old?.close(); // now, as the page may be frozen before any timer runs
  }

  return {
    connect,
    wake: (slept) => (leading ? own.wake(slept) : post({ kind: "wake" })),
    retryNow: () => (leading ? own.retryNow() : post({ kind: "retry" })),
    leave,
    close: resign,
    hush,
    denied(code, reason) {
      // A bad secret is this tab's own, and another may have a better one. What is
      // forbidden is so for the user.
      if (code === CLOSE.NOT_AUTHENTICATED) return resign();
      post({ kind: "denied", code, reason });
      stop();
    },
    isActive: () => channel !== null,
    interval: () => interval,
  };
}
