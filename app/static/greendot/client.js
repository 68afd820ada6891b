/** The presence client: a store that is kept in step with the server. */

import { createConnection } from "./connection.js";
import { catchErrors, createReport } from "./errors.js";
import { createIdle } from "./idle.js";
import { createMyPresence } from "./my-presence.js";
import { watchBackForwardCache } from "./page.js";
import { createRest } from "./rest.js";
import { createPresenceStore } from "./store.js";
import { canShareSocket, shareAmongTabs } from "./tabs.js";
import { createTokenSource } from "./token.js";

/** @typedef {import("./connection.js").Connection} Connection */
/** @typedef {import("./my-presence.js").MyPresence} MyPresence */
/** @typedef {import("./my-presence.js").MyPresenceChanges} MyPresenceChanges */
/** @typedef {import("./protocol.js").Frame} Frame */
/** @typedef {import("./rest.js").Secret} Secret */
/** @typedef {import("./store.js").PresenceStore} PresenceStore */
/** @typedef {import("./token.js").TokenSource} TokenSource */

/**
 * @typedef {object} PresenceClientOptions
 * @property {string} [url] where Greendot runs (http, https, ws or wss); default: the
 *   page's own origin
 * @property {Secret} [token] the user's JWT, or a function that gives a fresh one, or null if
 *   nobody is signed in; default: the cookie `presence_token`
 * @property {Secret} [ticket] a ticket for the socket instead of a token, for pages whose own
 *   server fetches tickets. A function gives a new one each time: a ticket works once
 * @property {boolean} [share] true (default): one socket for all tabs of this browser; false:
 *   this page has its own
 * @property {string} [user] id of the signed-in user. Tabs share a socket only with tabs
 *   of the same user. Default: the id in the token. With the cookie, set it if another user may
 *   sign in before `leave()` was called
 * @property {PresenceStore} [store] default: a new one
 * @property {boolean} [autoConnect] true (default): connect immediately; false: wait for
 *   `connect()`
 * @property {boolean} [hydrate] get the first statuses by REST. Default: true, but false with
 *   `ticket` and without `token`, because REST takes no tickets
 * @property {boolean} [detail] true (default): get availability, text and emoji of the friends,
 *   and report when this user is idle; false: only online and offline, and no report
 * @property {boolean} [idle] true (default): find out by itself whether the user is idle; false:
 *   the user is idle only while `setIdle(true)` is in force
 * @property {typeof globalThis.fetch} [fetch]
 * @property {typeof globalThis.WebSocket} [WebSocket]
 * @property {() => number} [random] uniform in [0, 1)
 * @property {(code: number, reason: string) => void} [onDenied] the server has denied access:
 *   4401 (sign in again) or 4403, with its reason. Or the token function gave no token (4401).
 *   The client stops until `connect()`. An expired token does not count if the client can get a
 *   fresh one, from a function or as the cookie
 * @property {(error: Error) => void} [onError] called with every error that is no ordinary
 *   outage. A missing feature, a bad URL or a bug in the token function stops the client until
 *   `connect()`. After a bug in an `on...` callback, a refused origin or a failed token request
 *   the client goes on. Each text is also written to the console once
 * @property {(frame: Frame, direction: "in" | "out") => void} [onFrame] every frame of
 *   this page's own socket
 * @property {(code: number, retryIn: number | null) => void} [onClose] this page's own
 *   socket has closed. `retryIn`: milliseconds until the next attempt, null for none
 */

/**
 * @typedef {object} PresenceClient
 * @property {PresenceStore} store
 * @property {() => void} connect does nothing while connected or trying. If `url` is invalid, or
 *   there is no WebSocket, it calls `onError`, and throws if there is no `onError`
 * @property {() => void} retryNow end the current wait for the next attempt
 * @property {(idle: boolean | null) => void} setIdle say whether the user is idle, for all tabs,
 *   whatever the client finds out; null: the client finds it out again
 * @property {() => Promise<MyPresence>} loadMyPresence read the user's own settings into the store.
 *   Rejected if the request fails
 * @property {(changes: MyPresenceChanges) => Promise<MyPresence>} changeMyPresence change some of
 *   the user's own settings. Rejected if the server refuses them (the error's `status` and `code`
 *   say why) or the request fails
 * @property {() => Promise<void>} leave go offline immediately, in all tabs, without the server's
 *   grace: for sign-out. Resolves when the server has confirmed it, or after two seconds
 * @property {() => void} close close this page's part; the server's grace applies
 */

/**
 * @param {PresenceClientOptions} [options]
 * @returns {PresenceClient}
 */
export function createPresenceClient(options = {}) {
  const report = createReport(options.onError);
  const store = options.store ?? createPresenceStore(report);
  const onFrame = catchErrors(options.onFrame, report);
  const onClose = catchErrors(options.onClose, report);
  const onDenied = catchErrors(options.onDenied ?? warnDenied, report);
  const createToken = () =>
    options.token === undefined ? undefined : createTokenSource(options.token);
  let token = createToken();
  /** @type {Promise<Connection> | null} */
  let connectionPromise = null;
  /** @type {Connection | null} */
  let connection = null;
  /** @type {ReturnType<typeof shareAmongTabs> | null} the connection, if it is shared */
  let sharing = null;
  let shouldConnect = false;
  let frozen = false;
  let stopWatching = () => {};
  /** @type {Promise<void> | undefined} */
  let leaving;

  const idle = createIdle({
    detects: options.idle !== false && options.detail !== false,
    send: (isIdle) => connection?.sendActivity(isIdle) ?? false,
    post: (message) => sharing?.postActivity(message),
  });
  const mine = createMyPresence(store, {
    createCalls() {
      const { fetch = globalThis.fetch.bind(globalThis) } = options;
      const base = httpBase(options.url);
      return createRest({ base, fetch, ...(token && { getToken: token.get }) });
    },
    onLoaded: (settings) => sharing?.postMyPresence(settings),
  });
  const { onWelcome } = idle;
  const { onSnapshot } = mine;

  /** @param {string} base */
  async function makeConnection(base) {
    const isShared = options.share !== false && (await canShareSocket());
    const user = isShared ? await userIdOf(options, token) : null;
    const guarded = { ...options, onFrame, onClose, onDenied };
    if (user === null) {
      const hooks = { report, onFatal: report, onWelcome, onSnapshot };
      return createConnection(base, guarded, token, store, hooks);
    }
    /** @type {ReturnType<typeof shareAmongTabs>} */
    let tabs;
    guarded.onDenied = (code, reason) => {
      tabs.denied(code, reason);
      onDenied(code, reason);
    };
    const onFatal = (/** @type {unknown} */ error) => {
      tabs.close(); // another tab may succeed
      report(error);
    };
    const onStopping = () => tabs.stopBroadcast();
    const own = createConnection(base, guarded, token, store, {
      report,
      onFatal,
      onStopping,
      onWelcome,
      onSnapshot,
    });
    tabs = shareAmongTabs(`greendot ${base} ${user}`, store, own, {
      onDenied,
      onActivity: idle.receive,
      onNewTab: idle.announce,
    });
    return (sharing = tabs);
  }

  function connect() {
    try {
      begin();
    } catch (error) {
      if (options.onError === undefined) throw error;
      report(error);
    }
  }

  function begin() {
    // Checked here and not before: during server-side rendering there is no page.
    const base = httpBase(options.url);
    checkFeatures(options);
    shouldConnect = true;
    stopWatching();
    stopWatching = watchBackForwardCache({ onFreeze, onThaw });
    store.setState((state) =>
      state.connection === "offline" ? { connection: "reconnecting" } : state,
    );
    start(base).catch(report);
  }

  /** @param {string} base */
  async function start(base) {
    await leaving;
    // A connection that has ended may have been another user's: look at the token again.
    if (connection?.isActive() === false) {
      connectionPromise = connection = sharing = null;
      token = createToken();
      store.setState({ myPresence: null });
    }
    const mine = (connectionPromise ??= makeConnection(base));
    const made = await mine;
    if (connectionPromise !== mine) return;
    connection = made;
    if (!shouldConnect) return;
    connection.connect();
    idle.start();
  }

  function markStopped() {
    shouldConnect = false;
    idle.stop();
    store.setState({ connection: "offline", stale: true });
  }

  function close() {
    connection?.close();
    markStopped();
  }

  function onFreeze() {
    frozen = shouldConnect && connection?.isActive() !== false; // false after a denial
    if (frozen) close();
  }

  function onThaw() {
    if (frozen) connect();
    frozen = false;
  }

  if (options.autoConnect !== false && typeof document !== "undefined") {
    try {
      begin();
    } catch (error) {
      report(error); // the page must work without presence, too
    }
  }

  return {
    store,
    connect,
    retryNow: () => connection?.retryNow(),
    setIdle: idle.setIdle,
    loadMyPresence: mine.load,
    changeMyPresence: mine.change,
    async leave() {
      stopWatching();
      const old = connection;
      shouldConnect = false;
      connectionPromise = connection = sharing = null;
      token = createToken();
      await (leaving = old?.leave());
      store.setState({ myPresence: null });
      if (!shouldConnect) markStopped();
    },
    close() {
      stopWatching();
      close();
    },
  };
}

/**
 * @param {number} code
 * @param {string} reason
 */
function warnDenied(code, reason) {
  console.warn(`greendot: the server denied access (${code}): ${reason}`);
}

/**
 * @param {PresenceClientOptions} options
 * @throws {Error} if there is no WebSocket or no fetch
 */
function checkFeatures(options) {
  const needed = /** @type {const} */ (["WebSocket", "fetch"]);
  for (const name of needed) {
    if (typeof (options[name] ?? globalThis[name]) === "function") continue;
    const hint = name === "WebSocket" ? " (Node has it from version 22 on)" : "";
    throw new Error(`${name} is missing here${hint}: pass one as the option ${name}`);
  }
}

/**
 * The id of the user, for sharing among tabs.
 *
 * @param {PresenceClientOptions} options
 * @param {TokenSource | undefined} token that of `options`
 * @returns {Promise<string | null>} null: not known, so the tabs do not share
 */
async function userIdOf({ user, ticket }, token) {
  if (user !== undefined) return user;
  if (ticket !== undefined) return null;
  if (token === undefined) return "cookie";
  try {
    const [, payload = ""] = (await token.getEarly()).split(".");
    const claims = JSON.parse(atob(payload.replace(/-/g, "+").replace(/_/g, "/")));
    return ["string", "number"].includes(typeof claims.sub) ? String(claims.sub) : null;
  } catch {
    return null;
  }
}

/**
 * @param {string} [url]
 * @returns {string} an http(s) URL, without `/ws` or a slash at its end
 * @throws {TypeError} if the URL cannot be used
 */
function httpBase(url = "/") {
  const origin = typeof location === "undefined" ? "null" : location.origin;
  const isAbsolute = /^\w+:/.test(url);
  if (origin === "null" && !isAbsolute) {
    throw new TypeError(`url "${url}" is relative, but there is no page here: use an absolute one`);
  }
  let full = "";
  try {
    full = (isAbsolute ? new URL(url) : new URL(url, origin)).href;
  } catch {
    // An invalid URL is reported below.
  }
  if (!/^(http|ws)s?:\/\//.test(full)) {
    throw new TypeError(`url "${url}" is not a valid http, https, ws or wss URL`);
  }
  return full.replace(/^ws/, "http").replace(/[?#].*$/, "").replace(/(\/ws)?\/*$/, "");
}
