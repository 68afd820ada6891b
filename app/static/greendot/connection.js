/**
 * This page's own line to the server: connects, hydrates the store, reconnects, and
 * says honestly when it cannot vouch for what the store holds.
 */

import { retryDelay } from "./backoff.js";
import { networkIsGone, watchPage } from "./page.js";
import { CLOSE, FROM_SERVER, ONLINE, PATHS, leastWait, mayRetry } from "./protocol.js";
import { closeCodeOf, createRest, reveal } from "./rest.js";
import { openSocket } from "./socket.js";
import { after } from "./timers.js";

/** @typedef {import("./client.js").PresenceClientOptions} PresenceClientOptions */
/** @typedef {import("./protocol.js").Frame} Frame */
/** @typedef {import("./protocol.js").WireStatus} WireStatus */
/** @typedef {import("./socket.js").PresenceSocket} PresenceSocket */
/** @typedef {import("./store.js").PresenceStore} PresenceStore */

/** @typedef {ReturnType<typeof createRest>} Rest */

/**
 * @typedef {object} Connection
 * @property {(known?: number) => void} connect does nothing while it is connected or
 *   trying; `known`: the heartbeat interval, if another tab has heard it
 * @property {() => void} retryNow end the present wait for the next try
 * @property {(slept: number) => void} wake there is reason to look at the socket
 * @property {() => Promise<void>} leave offline at once, without grace
 * @property {() => void} close end this page's part; the server's grace applies
 * @property {() => boolean} isActive connected or trying, and not left, closed or denied
 * @property {() => number} interval heartbeat interval in milliseconds
 */

/**
 * @param {string} base the server's http(s) URL, without a slash at its end
 * @param {PresenceClientOptions} options
 * @param {PresenceStore} store
 * @returns {Connection}
 */
export function createConnection(base, options, store) {
  const random = options.random ?? Math.random;
  const fetch = options.fetch ?? globalThis.fetch.bind(globalThis);

  let wanted = false;
  let tries = 0; // tells an answer to an earlier try from one to the current
  let hydrated = false;
  let lostAt = 0;
  let heardAt = 0;
  let interval = 20_000;
  let stopWatching = () => {};
  let cancelRetry = () => {};
  let cancelDoubt = () => {};
  /** @type {"no" | "soon" | "when told"} whether a retry waits, and by whose word */
  let waiting = "no";
  /** @type {PresenceSocket | null} */
  let socket = null;
  /** @type {number | null} when the server wants a planned reconnect */
  let comeBackAt = null;
  /** @type {Set<string>} users of whom an event came on the current socket */
  let live = new Set();
  let welcomed = false;
  let snapshotted = false;

  const away = () => (wanted && !networkIsGone() ? "reconnecting" : "offline");

  function connect(known = interval) {
    if (wanted) return;
    wanted = true;
    interval = known;
    heardAt = lostAt = Date.now(); // what a former leader of the tabs heard counts
    stopWatching = watchPage({ onWake: wake, onOffline });
    void attempt();
  }

  /** Forget the current socket, its retry and every answer still under way. */
  function reset() {
    tries += 1;
    cancelRetry();
    cancelDoubt();
    waiting = "no";
    comeBackAt = null;
    live = new Set();
    welcomed = false;
    snapshotted = false;
    const old = socket;
    socket = null;
    return old;
  }

  async function attempt() {
    reset()?.cut(CLOSE.NORMAL);
    const current = tries;
    store.setState({ connection: away() });
    doubtInTime();
    const { token } = options;
    const rest = createRest({ base, fetch, ...(token === undefined ? {} : { token }) });
    if (mayHydrate()) void hydrate(rest, current);
    let address;
    try {
      address = await socketAddress(rest);
    } catch (error) {
      if (current === tries) lost(closeCodeOf(error));
      return;
    }
    if (current !== tries) return;
    socket = openSocket(address, options.WebSocket ?? WebSocket, {
      onFrame: (frame) => current === tries && receive(frame),
      onQuiet: (quiet) => current === tries && setQuiet(quiet),
      onClosed: (code) => current === tries && lost(code),
      onSent: (frame) => options.onFrame?.(frame, "out"),
    });
  }

  /**
   * What was heard is vouched for until nothing is for one interval. An open socket
   * looks after that by itself; this is for the way there, however long a token takes.
   */
  function doubtInTime() {
    cancelDoubt();
    cancelDoubt = after(Math.max(0, heardAt + interval - Date.now()), () =>
      store.setState((state) => (state.stale ? state : { stale: true })),
    );
  }

  /** @param {Rest} rest */
  async function socketAddress(rest) {
    const address = new URL(base.replace(/^http/, "ws") + PATHS.SOCKET);
    if (options.ticket !== undefined) {
      address.searchParams.set("ticket", await reveal(options.ticket));
    } else if (options.token !== undefined) {
      address.searchParams.set("ticket", await rest.ticket());
    }
    return address.href;
  }

  /** Not over what a socket once said: REST cannot tell whether that still holds. */
  function mayHydrate() {
    const known = Object.keys(store.getState().timestamps).length > 0;
    return options.hydrate !== false && !hydrated && !known;
  }

  /**
   * @param {Rest} rest
   * @param {number} current
   */
  async function hydrate(rest, current) {
    try {
      const statuses = await rest.statuses();
      // The snapshot is newer and complete: REST only fills the time before it.
      if (current !== tries || snapshotted) return;
      hydrated = true;
      store.getState().setMultipleStatuses(statuses);
      store.setState({ stale: false });
      heardAt = Date.now();
      doubtInTime();
    } catch (error) {
      // With a ticket the socket has credentials of its own, and REST may have none.
      const code = closeCodeOf(error);
      if (current !== tries || mayRetry(code) || options.ticket !== undefined) return;
      lost(code);
    }
  }

  /** @param {Frame} frame */
  function receive({ event, data }) {
    heardAt = Date.now();
    if (event === FROM_SERVER.WELCOME) {
      welcomed = true;
      interval = Number(data["heartbeat_interval"]) * 1000 || interval;
      store.setState({ connection: "live" });
    } else if (event === FROM_SERVER.SNAPSHOT) {
      const statuses = /** @type {Record<string, WireStatus>} */ (data["statuses"]);
      // The first map may have been read before the last events were made. A later one
      // is sent because somebody ceased to be relevant: whoever is missing is gone.
      store.applySnapshot(statuses, live, snapshotted ? new Set() : live);
      snapshotted = true;
      hydrated = true;
      cancelDoubt();
      store.setState({ stale: false });
    } else if (event === FROM_SERVER.STATUS) {
      const id = String(data["user_id"]);
      live.add(id);
      const online = data["status"] === ONLINE;
      store.getState().setStatus(id, online, Number(data["timestamp"]));
    } else if (event === FROM_SERVER.HEARTBEAT_ACK) {
      lostAt = 0; // the connection has proved itself: the next outage is a new one
    } else if (event === FROM_SERVER.GOING_AWAY) {
      planReconnect(Number(data["reconnect_in"]) * 1000 || 0);
    }
    options.onFrame?.({ event, data }, "in");
  }

  /** @param {boolean} quiet */
  function setQuiet(quiet) {
    store.setState(
      quiet
        ? { connection: away(), stale: true }
        : { connection: "live", stale: !snapshotted },
    );
  }

  /** @param {number} delay */
  function planReconnect(delay) {
    comeBackAt = Date.now() + delay;
    schedule(delay, "when told");
  }

  /**
   * @param {number} delay
   * @param {"soon" | "when told"} why
   */
  function schedule(delay, why) {
    cancelRetry();
    waiting = why;
    cancelRetry = after(delay, () => void attempt());
  }

  /**
   * Whether the server's "not authenticated" is worth another try: it had let this
   * secret in, so it has expired, and there may be a fresh one. What is refused before
   * the welcome was as fresh as it gets.
   *
   * @param {number} code
   */
  function hasExpired(code) {
    const { ticket, token } = options;
    const renewable = typeof (ticket ?? token) !== "string"; // a function, or the cookie
    return code === CLOSE.NOT_AUTHENTICATED && welcomed && renewable;
  }

  /** @param {number} code */
  function lost(code) {
    const planned = comeBackAt;
    const expired = hasExpired(code);
    const final = !mayRetry(code) && !expired;
    reset()?.cut(CLOSE.NORMAL);
    if (final) {
      stop();
      options.onClose?.(code, null);
      options.onDenied?.(code);
      return;
    }
    const now = Date.now();
    lostAt ||= now;
    let delay = retryDelay(now - lostAt, leastWait(code), random);
    if (planned !== null) delay = Math.max(0, planned - now);
    else if (expired) delay = 0; // the server is there, and waits for a fresh one
    store.setState({ connection: away(), stale: true });
    schedule(delay, planned === null ? "soon" : "when told");
    options.onClose?.(code, delay);
  }

  /** @param {number} slept */
  function wake(slept) {
    if (waiting === "soon" || (waiting === "when told" && slept > 0)) void attempt();
    else if (networkIsGone()) socket?.doubt();
    else socket?.check(slept);
  }

  function onOffline() {
    // Loopback and local networks work without "the network": so ask before hanging up.
    store.setState({ connection: "offline", stale: true });
    socket?.doubt();
  }

  function stop() {
    wanted = false;
    hydrated = false;
    stopWatching();
    const old = reset();
    store.setState({ connection: "offline", stale: true });
    return old;
  }

  return {
    connect,
    wake,
    retryNow: () => void (waiting !== "no" && attempt()),
    leave: async () => stop()?.leave(),
    close: () => stop()?.cut(CLOSE.NORMAL),
    isActive: () => wanted,
    interval: () => interval,
  };
}
