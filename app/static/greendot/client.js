/** What an application makes: a presence store that is kept in step with the server. */

import { createConnection } from "./connection.js";
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
 * @property {(code: number) => void} [onDenied] the server said who may not come back
 *   (4401: sign in again, 4403): the client does not retry until `connect()`. A secret
 *   that has expired is not that yet, where a fresh one can be had: from a function, or
 *   as the cookie
 * @property {(frame: Frame, direction: "in" | "out") => void} [onFrame] every frame of
 *   this page's own socket
 * @property {(code: number, retryIn: number | null) => void} [onClose] this page's own
 *   socket ended; milliseconds until the next try, null for none
 */

/**
 * @typedef {object} PresenceClient
 * @property {PresenceStore} store
 * @property {() => void} connect does nothing while it is connected or trying; throws
 *   where `url` is not a whole one and there is no page that it could be relative to
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
  const store = options.store ?? createPresenceStore();
  /** @type {Promise<Connection> | null} */
  let chosen = null;
  /** @type {Connection | null} */
  let connection = null;
  let wanted = false;
  /** @type {Promise<void> | undefined} */
  let leaving;

  /** @param {string} base */
  async function choose(base) {
    const user = options.share === false || !canShare() ? null : await identity(options);
    if (user === null) return createConnection(base, options, store);
    /** @type {ReturnType<typeof shareAmongTabs>} */
    let tabs;
    const onDenied = (/** @type {number} */ code) => {
      tabs.denied(code);
      options.onDenied?.(code);
    };
    const own = createConnection(base, { ...options, onDenied }, store);
    const name = `greendot ${base} ${user}`;
    return (tabs = shareAmongTabs(name, store, own, (code) => options.onDenied?.(code)));
  }

  function connect() {
    const base = httpBase(options.url); // here, since a server that renders has no page
    wanted = true;
    store.setState((state) =>
      state.connection === "offline" ? { connection: "reconnecting" } : state,
    );
    void start(base);
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

  if (options.autoConnect !== false && typeof document !== "undefined") connect();

  const stopped = () => {
    wanted = false;
    store.setState({ connection: "offline", stale: true });
  };
  return {
    store,
    connect,
    retryNow: () => connection?.retryNow(),
    async leave() {
      const left = connection;
      wanted = false;
      chosen = connection = null;
      await (leaving = left?.leave());
      if (!wanted) stopped();
    },
    close() {
      connection?.close();
      stopped();
    },
  };
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
    return typeof claims.sub === "string" ? claims.sub : null;
  } catch {
    return null;
  }
}

/**
 * @param {string} [url]
 * @returns {string} an http(s) URL without a slash, or the socket's path, at its end
 */
function httpBase(url) {
  const page = typeof location === "undefined" ? undefined : location.origin;
  if (page === undefined && !/^\w+:/.test(url ?? "")) {
    throw new TypeError(`there is no page here: url "${url ?? ""}" has to be a whole one`);
  }
  const full = url === undefined ? page : new URL(url, page).href;
  return String(full).replace(/^ws/, "http").replace(/(\/ws)?\/*$/, "");
}
