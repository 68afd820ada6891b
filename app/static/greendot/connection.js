/**
 * This page's own line to the server: connects, hydrates the store, reconnects, and
 * says honestly when it cannot vouch for what the store holds.
 */

import { leastAfterRefusals, retryDelay } from "./backoff.js";
import {
  PresenceHttpError,
  PresenceNetworkError,
  PresenceSecretError,
  mayPass,
} from "./errors.js";
import { isMixedContent, isOfAnotherOrigin, networkIsGone, watchPage } from "./page.js";
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

// How long a goodbye may take to be over, at most, while what was heard still counts.
const GOODBYE = 2_000;
const GOODBYE_JITTER = 100;
const GOODBYE_SPACING = 1_000; // of those that are answered at once: a server may repeat them
const REFUSALS_BEFORE_HINT = 2;

/**
 * @typedef {object} Hooks
 * @property {() => void} [onStopping] it stops by itself, and the store does not say so yet
 * @property {(error: unknown) => void} onFatal no further try can mend this: it has stopped
 * @property {import("./errors.js").Report} report something is wrong, and it goes on
 */

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
 * @param {Hooks} hooks
 * @returns {Connection}
 */
export function createConnection(base, options, store, hooks) {
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
  let wasEverLive = false;
  let refusals = 0; // in a row, that may last: a foreign origin, a wrong URL
  let hinted = false; // of what keeps us away this time
  let goodbyeAt = 0;
  let goodbyeUntil = 0;

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
    doubtInTime();
    store.setState({ connection: away() });
    if (current !== tries) return; // a listener has closed the client: so below, too
    const { token } = options;
    const rest = createRest({ base, fetch, ...(token === undefined ? {} : { token }) });
    if (mayHydrate()) void hydrate(rest, current);
    try {
      const address = await socketAddress(rest);
      if (current !== tries) return;
      socket = openSocket(address, options.WebSocket ?? WebSocket, {
        onFrame: (frame) => current === tries && receive(frame),
        onQuiet: (quiet) => current === tries && setQuiet(quiet),
        onClosed: (code, reason) => current === tries && lost(code, reason),
        onSent: (frame) => options.onFrame?.(frame, "out"),
      });
    } catch (error) {
      if (current === tries) failed(error);
    }
  }

  /** @param {unknown} error why there is no socket */
  function failed(error) {
    const isMixed = error instanceof PresenceNetworkError && isMixedContent(base);
    if (!mayPass(error) || isMixed) {
      hooks.onStopping?.();
      stop();
      options.onClose?.(CLOSE.NOT_HEARD, null);
      hooks.onFatal(isMixed ? new Error(`a page of https may not use ${base}: mixed content`) : error);
      return;
    }
    const isSecrets = error instanceof PresenceSecretError;
    const hint = isSecrets ? error : hintOf(error);
    if (hint !== null && !isSecrets) refusals += 1;
    lost(closeCodeOf(error));
    if (hint === null || hinted || (!isSecrets && refusals < REFUSALS_BEFORE_HINT)) return;
    hinted = true;
    hooks.report(hint);
  }

  /**
   * @param {unknown} error that may pass, or may not
   * @returns {Error | null} what to tell the application if it does not; null: an ordinary
   *   outage, of which `connection` tells
   */
  function hintOf(error) {
    if (wasEverLive || networkIsGone()) return null;
    if (error instanceof PresenceHttpError) {
      return mayRetry(closeCodeOf(error)) && error.status < 500 && error.status !== 429
        ? new Error(`${error.message}: is ${base} where Greendot runs?`)
        : null;
    }
    return isOfAnotherOrigin(base)
      ? new Error(
          `${base} cannot be reached, or it refuses pages of ${location.origin}: ` +
            "then PRESENCE_ALLOWED_ORIGINS has to name that origin (the log of Greendot says so)",
        )
      : null;
  }

  /**
   * What was heard is vouched for until nothing is for one interval. An open socket
   * looks after that by itself; this is for the way there, however long a token takes.
   */
  function doubtInTime() {
    cancelDoubt();
    const now = Date.now();
    const until = Math.min(heardAt + interval, goodbyeUntil > now ? goodbyeUntil : Infinity);
    cancelDoubt = after(Math.max(0, until - now), () =>
      store.setState((state) => (state.stale ? state : { stale: true })),
    );
  }

  /** @param {Rest} rest */
  async function socketAddress(rest) {
    const address = base.replace(/^http/, "ws") + PATHS.SOCKET;
    const { ticket, token } = options;
    if (ticket === undefined && token === undefined) return address;
    const given = ticket === undefined ? await rest.ticket() : await reveal(ticket);
    return `${address}?ticket=${encodeURIComponent(given)}`;
  }

  /** Not over what a socket once said: REST cannot tell whether that still holds. */
  function mayHydrate() {
    const known = Object.keys(store.getState().timestamps).length > 0;
    return options.hydrate !== false && !hydrated && !known && refusals === 0;
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
      heardAt = Date.now();
      doubtInTime();
      store.getState().setMultipleStatuses(statuses);
      if (current === tries) store.setState({ stale: false });
    } catch (error) {
      if (current !== tries) return;
      // With a ticket the socket has credentials of its own, and REST may have none.
      const isSocketsOwnAffair = mayRetry(closeCodeOf(error)) || options.ticket !== undefined;
      if (!mayPass(error) || !isSocketsOwnAffair) failed(error);
    }
  }

  /** @param {Frame} frame */
  function receive({ event, data }) {
    const current = tries;
    heardAt = Date.now();
    if (event === FROM_SERVER.WELCOME) {
      welcomed = wasEverLive = true;
      refusals = 0;
      hinted = false;
      interval = Number(data["heartbeat_interval"]) * 1000 || interval;
      store.setState({ connection: "live" });
    } else if (event === FROM_SERVER.SNAPSHOT) {
      const statuses = /** @type {Record<string, WireStatus>} */ (data["statuses"]);
      // The first map may have been read before the last events were made. A later one
      // is sent because somebody ceased to be relevant: whoever is missing is gone.
      const keep = snapshotted ? new Set() : live;
      snapshotted = true;
      hydrated = true;
      goodbyeUntil = 0;
      cancelDoubt();
      store.applySnapshot(statuses, live, keep);
      if (current === tries) store.setState({ stale: false });
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

  /**
   * @param {number} code
   * @param {string} [reason] the server's words
   */
  function lost(code, reason = "") {
    const planned = comeBackAt;
    const expired = hasExpired(code);
    const final = !mayRetry(code) && !expired;
    const now = Date.now();
    const isGoodbye = code === CLOSE.GOING_AWAY && (snapshotted || now < goodbyeUntil);
    reset()?.cut(CLOSE.NORMAL);
    if (final) {
      hooks.onStopping?.();
      stop();
      options.onClose?.(code, null);
      options.onDenied?.(code, reason);
      return;
    }
    lostAt ||= now;
    const least = Math.max(leastWait(code), refusals > 0 ? leastAfterRefusals(refusals) : 0);
    let delay = retryDelay(now - lostAt, least, random);
    if (planned !== null) delay = Math.max(0, planned - now);
    else if (expired) delay = 0; // the server is there, and waits for a fresh one
    else if (isGoodbye && now - goodbyeAt > GOODBYE_SPACING) delay = random() * GOODBYE_JITTER;
    if (isGoodbye) {
      heardAt = goodbyeAt = now;
      goodbyeUntil = now + GOODBYE;
    }
    schedule(delay, planned === null ? "soon" : "when told");
    if (now < goodbyeUntil) {
      doubtInTime();
      store.setState({ connection: away() });
    } else store.setState({ connection: away(), stale: true });
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
