/**
 * One socket for all tabs of a browser that show the same user. A Web Lock makes one tab the
 * leader. Only the leader has a connection; it sends the state of its store to the other tabs,
 * the followers, by BroadcastChannel. When the leader's tab is closed, the next tab gets the lock.
 */

import { watchPage } from "./page.js";
import { CLOSE } from "./protocol.js";
import { applyDiff, fullDiff, stateDiff } from "./state-diff.js";
import { after } from "./timers.js";

/** @typedef {import("./connection.js").Connection} Connection */
/** @typedef {import("./idle.js").ActivityMessage} ActivityMessage */
/** @typedef {import("./my-presence.js").MyPresence} MyPresence */
/** @typedef {import("./state-diff.js").StateDiff} StateDiff */
/** @typedef {import("./store.js").PresenceStore} PresenceStore */

/**
 * A message between tabs. Followers send requests: `hello` (send me the full state), `wake`,
 * `retry` and `leave`, and `mine` (the user's own settings that they have read). The leader sends
 * `patch` (a state diff), `left` and `denied`. Every tab sends `activity`. Tabs may run different
 * versions of the client, so these names are a contract.
 *
 * @typedef {StateDiff & ActivityMessage & {
 *   from: string,
 *   kind: "hello" | "wake" | "retry" | "leave" | "mine" | "left" | "denied" | "patch" | "activity",
 *   to?: string, code?: number, reason?: string, interval?: number,
 * }} Message
 */

const LEAVE_TIMEOUT = 2_000;
// Keep the lock a little longer than the connection, so that the other tabs get `left` before
// one of them could become leader.
const UNLOCK_DELAY = 300;
// As for heartbeats to the server: followers notice a silent leader within one interval.
const KEEP_ALIVE_FRACTION = 0.75;
// A leader that is silent for so long is frozen, and another tab takes the lock from it.
const STEAL_AFTER_INTERVALS = 1.5;
const MIN_STEAL_DELAY = 5_000;
const LATE_TIMER = 1_000; // a timer that fires so late shows that this page was frozen itself

/**
 * Whether tabs can share a socket. Web Locks exist in secure contexts only (https or localhost).
 * Even if both features exist, the browser may refuse them: in a sandboxed frame, or when the
 * user forbids the site to store data.
 *
 * @returns {Promise<boolean>}
 */
export async function canShareSocket() {
  if (typeof location === "undefined") return false; // Deno has both features, but no tabs
  try {
    new BroadcastChannel("greendot").close();
    await navigator.locks.query();
    return true;
  } catch {
    return false;
  }
}

/**
 * @param {string} name of the lock and channel: the same in all tabs of one user, and in no other
 * @param {PresenceStore} store
 * @param {Connection} connection used while this tab is the leader
 * @param {object} handlers
 * @param {(code: number, reason: string) => void} handlers.onDenied called when the server has
 *   denied another tab of this user, and so this tab too
 * @param {(tab: string, message: ActivityMessage) => void} handlers.onActivity
 * @param {() => void} handlers.onNewTab called in the leader
 * @returns {Connection & {
 *   stopBroadcast: () => void, denied: (code: number, reason: string) => void,
 *   postActivity: (message: ActivityMessage) => void, postMyPresence: (mine: MyPresence) => void,
 * }} call `stopBroadcast` when the connection stops by itself, since the other tabs go on; call
 *   `denied` when the server has denied it
 */
export function shareAmongTabs(name, store, connection, { onDenied, onActivity, onNewTab }) {
  const tabId = Math.random().toString(36).slice(2);
  /** @type {BroadcastChannel | null} */
  let channel = null;
  /** @type {AbortController | null} */
  let lockRequest = null;
  let isLeader = false;
  let releaseLock = () => {};
  /** @type {string | null} the leader. Its full state has come, so its diffs can be applied */
  let leader = null;
  let interval = connection.interval();
  const nothing = () => {};
  let unsubscribe = nothing;
  let stopWatching = nothing;
  let cancelKeepAlive = nothing;
  let cancelSilence = nothing;
  let cancelSteal = nothing;
  let onLeft = nothing;

  /** @param {Omit<Message, "from">} message */
  const post = (message) => channel?.postMessage({ from: tabId, ...message });

  function connect() {
    if (channel !== null) return;
    channel = new BroadcastChannel(name);
    channel.onmessage = ({ data }) => handleMessage(data);
    becomeFollower();
  }

  // --- The follower

  function becomeFollower() {
    leader = null;
    store.setState({ connection: "reconnecting", stale: true });
    stopWatching = watchPage({
      // Without the duration: this tab's page slept, but the leader's may have been awake.
      onWake: () => post({ kind: "wake" }),
      onOffline: nothing, // the leader gets the same event, and sends its new state
    });
    requestLock(false);
    post({ kind: "hello" });
    expectLeader();
  }

  /** @param {boolean} steal */
  function requestLock(steal) {
    lockRequest?.abort();
    const request = new AbortController();
    lockRequest = request;
    const options = steal ? { steal } : { signal: request.signal };
    navigator.locks
      .request(name, options, () => {
        if (lockRequest !== request || channel === null) return undefined;
        return new Promise((resolve) => becomeLeader(() => resolve(undefined)));
      })
      .catch(() => {
        // This tab has aborted the request, or another tab has stolen the lock because this
        // page was frozen for too long.
        if (isLeader && lockRequest === request) stepDown();
      });
  }

  function expectLeader() {
    cancelSilence();
    cancelSteal();
    cancelSilence = after(interval, () =>
      store.setState({ connection: "reconnecting", stale: true }),
    );
    // The random part spreads the followers: the first one to take the lock then sends its state
    // to the others.
    const silence = leader === null ? 0 : interval * STEAL_AFTER_INTERVALS;
    const stealDelay = Math.max(MIN_STEAL_DELAY, silence) * (1 + Math.random() / 2);
    const due = Date.now() + stealDelay;
    const steal = () => requestLock(true);
    cancelSteal = after(stealDelay, () => {
      if (Date.now() - due < LATE_TIMER) return steal();
      // This page was frozen, so messages of the leader may still be waiting. Ask it first.
      cancelSteal = after(MIN_STEAL_DELAY, steal);
      post({ kind: "hello" });
    });
  }

  function stopFollowing() {
    stopWatching();
    cancelSilence();
    cancelSteal();
  }

  /** @param {Message} message */
  function applyMessage(message) {
    if (message.to !== undefined && message.to !== tabId) {
      if (leader === message.from) expectLeader(); // for another tab, but the leader is alive
      return;
    }
    if (message.whole !== true && leader !== message.from) {
      post({ kind: "hello" }); // a new leader: its diffs apply only to its full state
      return;
    }
    leader = message.from;
    interval = message.interval ?? interval;
    expectLeader();
    const state = store.getState();
    const next = applyDiff(state, message);
    const isNew = next.statuses !== undefined || next.myPresence !== undefined;
    const hasChanged = next.stale !== state.stale || next.connection !== state.connection;
    if (isNew || hasChanged) store.setState(next);
  }

  // --- The leader

  /** @param {() => void} unlock */
  function becomeLeader(unlock) {
    isLeader = true;
    releaseLock = unlock;
    stopFollowing();
    connection.connect(interval);
    broadcastAll();
    unsubscribe = store.subscribe((state, previous) => {
      broadcast(stateDiff(previous, state));
    });
    startKeepAlive();
  }

  /** Any message shows that the leader is alive. If there is none to send, send a keep-alive. */
  function startKeepAlive() {
    cancelKeepAlive();
    cancelKeepAlive = after(connection.interval() * KEEP_ALIVE_FRACTION, () => {
      const { connection: connectionState, stale } = store.getState();
      broadcast({ connection: connectionState, stale });
    });
  }

  /** @param {StateDiff & {to?: string}} diff */
  function broadcast(diff) {
    post({ kind: "patch", interval: connection.interval(), ...diff });
    startKeepAlive();
  }

  /** @param {string} [to] */
  function broadcastAll(to) {
    broadcast({ ...fullDiff(store.getState()), ...(to === undefined ? {} : { to }) });
  }

  function stopBroadcast() {
    unsubscribe();
    cancelKeepAlive();
  }

  function stopLeading() {
    isLeader = false;
    stopBroadcast();
  }

  function stepDown() {
    stopLeading();
    connection.close();
    becomeFollower();
  }

  // --- Both

  /** @param {Message} message */
  function handleMessage(message) {
    const { kind } = message;
    if (kind === "left" || kind === "denied") {
      if (isLeader) connection.close();
      if (kind === "left") signedOut();
      else stop();
      if (kind === "denied") onDenied(message.code ?? 0, message.reason ?? "");
      onLeft();
    } else if (kind === "activity") onActivity(message.from, message);
    else if (isLeader) {
      if (kind === "hello") {
        broadcastAll(message.from);
        onNewTab();
      } else if (kind === "mine") store.setState({ myPresence: message.myPresence ?? null });
      else if (kind === "wake") connection.wake(0);
      else if (kind === "retry") connection.retryNow();
      else if (kind === "leave") void leave();
    } else if (kind === "patch") applyMessage(message);
  }

  async function leave() {
    if (channel === null) return;
    if (isLeader) {
      stopLeading(); // first, since the next lines tell the other tabs everything
      post({ kind: "patch", connection: "offline", stale: true });
      await connection.leave();
      post({ kind: "left" });
      signedOut();
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
    signedOut();
  }

  function signedOut() {
    stop();
    store.setState({ myPresence: null });
  }

  function stop() {
    if (channel === null) return;
    stopFollowing();
    if (isLeader) stopLeading();
    const unlock = releaseLock;
    releaseLock = nothing;
    after(UNLOCK_DELAY, unlock);
    lockRequest?.abort();
    lockRequest = null;
    // Some browsers drop messages that were just posted if the channel is closed immediately.
    const old = channel;
    channel = null;
    old.onmessage = null;
    after(0, () => old.close());
    store.setState({ connection: "offline", stale: true });
  }

  /** Stop without a message to the other tabs: the next one becomes leader immediately. */
  function close() {
    const wasLeader = isLeader;
    const unlock = releaseLock;
    const old = channel;
    releaseLock = nothing;
    stop();
    if (wasLeader) connection.close();
    unlock();
    old?.close(); // now, since the page may be frozen before a timer runs
  }

  return {
    connect,
    wake: (slept) => (isLeader ? connection.wake(slept) : post({ kind: "wake" })),
    retryNow: () => (isLeader ? connection.retryNow() : post({ kind: "retry" })),
    sendActivity: connection.sendActivity,
    postActivity: (message) => post({ kind: "activity", ...message }),
    postMyPresence: (myPresence) => void (isLeader || post({ kind: "mine", myPresence })),
    leave,
    close,
    stopBroadcast,
    denied(code, reason) {
      // 4401 is about this tab's token: another tab may have a better one. 4403 is about the user.
      if (code === CLOSE.NOT_AUTHENTICATED) return close();
      post({ kind: "denied", code, reason });
      stop();
    },
    isActive: () => channel !== null,
    interval: () => interval,
  };
}
