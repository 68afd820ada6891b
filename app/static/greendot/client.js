/** What an application makes: a presence store that is kept in step with the server. */

import { createConnection } from "./connection.js";
import { createReport, guarded } from "./errors.js";
import { watchCache } from "./page.js";
import { reveal } from "./rest.js";
import { createPresenceStore } from "./store.js";
import { canShare, shareAmongTabs } from "./tabs.js";

/** @typedef {import("./connection.js").Connection} Connection */
/** @typedef {import("./protocol.js").Frame} Frame */
/** @typedef {import("./rest.js").Secret} Secret */
/** @typedef {import("./store.js").PresenceStore} PresenceStore */

/**
 * @typedef {object} PresenceClientOptions
 * @property {string} [url] where Greendot runs (http, https, ws or wss); default: the
 *   page's own origin
 * @property {Secret} [token] the user's JWT, or a function that gives a fresh one;
 *   default: the cookie `presence_token`
 * @property {Secret} [ticket] a ticket for the socket, or a function that gives a new
 *   one each time (a ticket works once), for pages whose own server fetches tickets
 * @property {boolean} [share] one socket for all tabs of this browser (default), or one
 *   for this page
 * @property {string} [user] id of the signed-in user. Tabs share a socket only with tabs
 *   of the same user. With a token it is read from there; with the cookie, name it if
 *   somebody may sign in as somebody else before `leave()` was called
 * @property {PresenceStore} [store]
 * @property {boolean} [autoConnect] connect at once (default), or wait for `connect()`
 * @property {boolean} [hydrate] ask REST for the first statuses (default)
 * @property {typeof globalThis.fetch} [fetch]
 * @property {typeof globalThis.WebSocket} [WebSocket]
 * @property {() => number} [random] uniform in [0, 1)
 * @property {(code: number, reason: string) => void} [onDenied] the server said who may not
 *   come back (4401: sign in again, 4403), and why: the client does not retry until
 *   `connect()`. A secret that has expired is not that yet, where a fresh one can be had:
 *   from a function, or as the cookie
 * @property {(error: Error) => void} [onError] something is wrong that is no mere outage: a
 *   missing feature, a bad URL, a bug in one of these functions (which stop the client until
 *   `connect()`, unless it is a bug in an `on...`), or what looks as if it lasted: a foreign
 *   origin, a failing token function. The console is told too, once
 * @property {(frame: Frame, direction: "in" | "out") => void} [onFrame] every frame of
 *   this page's own socket
 * @property {(code: number, retryIn: number | null) => void} [onClose] this page's own
 *   socket ended; milliseconds until the next try, null for none
 */

/**
 * @typedef {object} PresenceClient
 * @property {PresenceStore} store
 * @property {() => void} connect does nothing while it is connected or trying. Where `url` is
 *   none, or there is no WebSocket, it tells `onError`; without that it throws
 * @property {() => void} retryNow end the present wait for the next try
 * @property {() => Promise<void>} leave offline at once, without grace, in all tabs
 *   (sign-out); resolves when the server has heard it, or after two seconds
 * @property {() => void} close end this page's part; the server's grace applies
 */

/**
 * @param {PresenceClientOptions} [options]
 * @returns {PresenceClient}
 */
export function createPresenceClient(options = {}) {
  const report = createReport(options.onError);
  const store = options.store ?? createPresenceStore(report);
  const onFrame = guarded(options.onFrame, report);
  const onClose = guarded(options.onClose, report);
  const onDenied = guarded(options.onDenied ?? warn, report);
  /** @type {Promise<Connection> | null} */
  let chosen = null;
  /** @type {Connection | null} */
  let connection = null;
  let wanted = false;
  let frozen = false;
  let stopWatching = () => {};
  /** @type {Promise<void> | undefined} */
  let leaving;

  /** @param {string} base */
  async function choose(base) {
    const isShared = options.share !== false && (await canShare());
    const user = isShared ? await identity(options) : null;
    const told = { ...options, onFrame, onClose, onDenied };
    if (user === null) {
      return createConnection(base, told, store, { report, onFatal: report });
    }
    /** @type {ReturnType<typeof shareAmongTabs>} */
    let tabs;
    told.onDenied = (code, reason) => {
      tabs.denied(code, reason);
      onDenied(code, reason);
    };
    const onFatal = (/** @type {unknown} */ error) => {
      tabs.close(); // another tab may fare better
      report(error);
    };
    const onStopping = () => tabs.hush();
    const own = createConnection(base, told, store, { report, onFatal, onStopping });
    return (tabs = shareAmongTabs(`greendot ${base} ${user}`, store, own, onDenied));
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
    const base = httpBase(options.url); // here, since a server that renders has no page
    checkFeatures(options);
    wanted = true;
    stopWatching();
    stopWatching = watchCache({ onFreeze, onThaw });
    store.setState((state) =>
      state.connection === "offline" ? { connection: "reconnecting" } : state,
    );
    start(base).catch(report);
  }

  /** @param {string} base */
  async function start(base) {
    await leaving;
    // What has ended may have been somebody else's: whose tabs these are is asked anew.
    if (connection?.isActive() === false) chosen = connection = null;
    const ours = (chosen ??= choose(base));
    const made = await ours;
    if (chosen !== ours) return;
    connection = made;
    if (wanted) connection.connect();
  }

  function stopped() {
    wanted = false;
    store.setState({ connection: "offline", stale: true });
  }

  function close() {
    connection?.close();
    stopped();
  }

  function onFreeze() {
    frozen = wanted && connection?.isActive() !== false; // not if it was denied
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
      report(error); // a page works without presence, too
    }
  }

  return {
    store,
    connect,
    retryNow: () => connection?.retryNow(),
    async leave() {
      stopWatching();
      const left = connection;
      wanted = false;
      chosen = connection = null;
      await (leaving = left?.leave());
      if (!wanted) stopped();
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
function warn(code, reason) {
  console.warn(`greendot: the server refused this client (${code}): ${reason}`);
}

/**
 * @param {PresenceClientOptions} options
 * @throws {Error} where something is missing that no try can do without
 */
function checkFeatures(options) {
  const needed = /** @type {const} */ (["WebSocket", "fetch"]);
  for (const name of needed) {
    if (typeof (options[name] ?? globalThis[name]) === "function") continue;
    const where = name === "WebSocket" ? " (Node has one from version 22 on)" : "";
    throw new Error(`there is no ${name} here${where}: give one as the option ${name}`);
  }
}

/**
 * Whose tabs these are.
 *
 * @param {PresenceClientOptions} options
 * @returns {Promise<string | null>} null: not known, so nothing is shared
 */
async function identity({ user, token, ticket }) {
  if (user !== undefined) return user;
  if (ticket !== undefined) return null;
  if (token === undefined) return "cookie";
  try {
    const [, payload = ""] = (await reveal(token)).split(".");
    const claims = JSON.parse(atob(payload.replace(/-/g, "+").replace(/_/g, "/")));
    return ["string", "number"].includes(typeof claims.sub) ? String(claims.sub) : null;
  } catch {
    return null;
  }
}

/**
 * @param {string} [url]
 * @returns {string} an http(s) URL without a slash, or the socket's path, at its end
 */
function httpBase(url = "/") {
  const page = typeof location === "undefined" ? "null" : location.origin;
  const isWhole = /^\w+:/.test(url);
  if (page === "null" && !isWhole) {
    throw new TypeError(`there is no page of a site here: url "${url}" has to be a whole one`);
  }
  let full = "";
  try {
    full = (isWhole ? new URL(url) : new URL(url, page)).href;
  } catch {
    // told below, like every other one that is of no use
  }
  if (!/^(http|ws)s?:\/\//.test(full)) {
    throw new TypeError(`url "${url}" is none of http, https, ws or wss`);
  }
  return full.replace(/^ws/, "http").replace(/[?#].*$/, "").replace(/(\/ws)?\/*$/, "");
}
