/**
 * The connection of this page to the server: it connects, fills the store and reconnects. When
 * it does not hear the server, it marks the store as stale.
 */

import {
  minDelayAfterRejections,
  minDelayAfterSecretFailures,
  retryDelay,
} from "./backoff.js";
import {
  PresenceHttpError,
  PresenceNetworkError,
  PresenceSecretError,
  PresenceSignedOut,
  isRetryable,
} from "./errors.js";
import { isCrossOrigin, isMixedContent, isNetworkDown, watchPage } from "./page.js";
import { CLOSE, FROM_SERVER, ONLINE, TO_SERVER, mayRetry, minRetryDelay } from "./protocol.js";
import { closeCodeOf, createRest } from "./rest.js";
import { openSocket } from "./socket.js";
import { after } from "./timers.js";

/** @typedef {import("./client.js").PresenceClientOptions} PresenceClientOptions */
/** @typedef {import("./detail.js").Detail} Detail */
/** @typedef {import("./my-presence.js").MyPresence} MyPresence */
/** @typedef {import("./protocol.js").Frame} Frame */
/** @typedef {import("./protocol.js").WireStatus} WireStatus */
/** @typedef {import("./socket.js").PresenceSocket} PresenceSocket */
/** @typedef {import("./store.js").PresenceStore} PresenceStore */
/** @typedef {import("./token.js").TokenSource} TokenSource */

/** @typedef {ReturnType<typeof createRest>} Rest */

// Firefox closes a page's sockets with 1001 as soon as the page follows a link. If the page then
// stays (the link was a download, say), the client reconnects. The statuses stay valid until then,
// but no longer than this.
const NAVIGATION_GRACE = 2_000;
const NAVIGATION_JITTER = 100;
// Reconnect immediately at most once in this time: a server may also send this close code again
// and again.
const NAVIGATION_SPACING = 1_000;
const REJECTIONS_BEFORE_REPORT = 2;
// A server closes the socket after a message of more than 4096 bytes (by default).
const MAX_REFRESH_LENGTH = 4_000;

/**
 * @typedef {object} Hooks
 * @property {() => void} [onStopping] called when the connection stops by itself, before the
 *   store changes
 * @property {(error: unknown) => void} onFatal the connection has stopped, since no later
 *   attempt can succeed
 * @property {(idleAfter: number) => void} [onWelcome] there is a new socket; `idleAfter`: in
 *   seconds, NaN if this server takes no `activity`
 * @property {() => void} [onSnapshot] from now on this socket gets all events
 * @property {import("./errors.js").Report} report called with an error after which the
 *   connection goes on
 */

/**
 * @typedef {object} Connection
 * @property {(knownInterval?: number) => void} connect does nothing while connected or trying;
 *   `knownInterval`: the heartbeat interval (ms) that another tab got from the server
 * @property {() => void} retryNow end the current wait for the next attempt
 * @property {(slept: number) => void} wake the socket may have ended: check it
 * @property {(idle: boolean) => boolean} sendActivity false: there is no open socket
 * @property {() => Promise<void>} leave go offline immediately, without the server's grace
 * @property {() => void} close close this page's connection; the server's grace applies
 * @property {() => boolean} isActive connected or trying; false after leave, close or a denial
 * @property {() => number} interval heartbeat interval in milliseconds
 */

/**
 * @param {string} base the server's http(s) URL, without a slash at its end
 * @param {PresenceClientOptions} options
 * @param {TokenSource | undefined} token that of `options`
 * @param {PresenceStore} store
 * @param {Hooks} hooks
 * @returns {Connection}
 */
export function createConnection(base, options, token, store, hooks) {
  const random = options.random ?? Math.random;
  const fetch = options.fetch ?? globalThis.fetch.bind(globalThis);
  const wantsDetail = options.detail !== false;

  let active = false;
  let currentAttempt = 0; // an answer that belongs to an earlier attempt is ignored
  let hydrated = false;
  let outageStartedAt = 0; // 0: there is no outage
  let lastHeardAt = 0;
  let interval = 20_000;
  let stopWatching = () => {};
  let cancelRetry = () => {};
  let cancelStale = () => {};
  /** @type {"none" | "backoff" | "planned"} the kind of retry that is scheduled */
  let scheduled = "none";
  /** @type {PresenceSocket | null} */
  let socket = null;
  /** @type {number | null} when to reconnect after the server's `going_away` */
  let plannedReconnectAt = null;
  /** @type {Set<string>} users with a status event on the current socket */
  let updatedIds = new Set();
  let hasWelcome = false;
  let hasSnapshot = false;
  let everConnected = false;
  let rejections = 0; // attempts in a row that failed as with a refused origin or a wrong URL
  let secretFailures = 0; // attempts in a row that got no token because its function failed
  let rejectionReported = false;
  let navigationCloseAt = 0;
  let navigationGraceUntil = 0;

  const disconnectedState = () => (active && !isNetworkDown() ? "reconnecting" : "offline");

  function connect(knownInterval = interval) {
    if (active) return;
    active = true;
    interval = knownInterval;
    // If this tab has just become leader: the former leader has heard the server until now.
    lastHeardAt = outageStartedAt = Date.now();
    stopWatching = watchPage({ onWake: wake, onOffline });
    void startAttempt();
  }

  /** Forget the current socket, its retry, and every answer that is still to come. */
  function reset() {
    currentAttempt += 1;
    cancelRetry();
    cancelStale();
    scheduled = "none";
    plannedReconnectAt = null;
    updatedIds = new Set();
    hasWelcome = false;
    hasSnapshot = false;
    const old = socket;
    socket = null;
    return old;
  }

  async function startAttempt() {
    reset()?.close(CLOSE.NORMAL);
    const attempt = currentAttempt;
    startStaleTimer();
    store.setState({ connection: disconnectedState() });
    if (attempt !== currentAttempt) return; // a listener of the store has closed the client
    const rest = createRest({ base, fetch, ...(token && { getToken: token.take }) });
    if (shouldHydrate()) void hydrate(rest, attempt);
    try {
      const url = await rest.socketUrl(options.ticket, wantsDetail);
      if (attempt !== currentAttempt) return;
      secretFailures = 0;
      socket = openSocket(url, options.WebSocket ?? WebSocket, {
        onFrame: (frame) => attempt === currentAttempt && handleFrame(frame),
        onSilence: (silent) => attempt === currentAttempt && handleSilence(silent),
        onClosed: (code, reason) => attempt === currentAttempt && handleClose(code, reason),
        onSent: (frame) => options.onFrame?.(frame, "out"),
      });
    } catch (error) {
      if (attempt === currentAttempt) handleFailure(error);
    }
  }

  /** @param {unknown} error why this attempt opened no socket */
  function handleFailure(error) {
    if (error instanceof PresenceSignedOut) {
      deny(CLOSE.NOT_AUTHENTICATED, error.message);
      return;
    }
    const isMixed = error instanceof PresenceNetworkError && isMixedContent(base);
    if (!isRetryable(error) || isMixed) {
      hooks.onStopping?.();
      stop();
      options.onClose?.(CLOSE.ABNORMAL, null);
      hooks.onFatal(
        isMixed
          ? new Error(`mixed content: an https page cannot use ${base}. Serve Greendot over https`)
          : error,
      );
      return;
    }
    const isSecret = error instanceof PresenceSecretError;
    const toReport = isSecret ? error : misconfiguration(error);
    secretFailures = isSecret ? secretFailures + 1 : 0;
    if (toReport !== null && !isSecret) rejections += 1;
    handleClose(closeCodeOf(error));
    if (toReport === null || rejectionReported) return;
    if (!isSecret && rejections < REJECTIONS_BEFORE_REPORT) return;
    rejectionReported = true;
    hooks.report(toReport);
  }

  /**
   * @param {unknown} error a retryable one
   * @returns {Error | null} what to report if the error lasts. Null for an ordinary outage: the
   *   store's `connection` shows it
   */
  function misconfiguration(error) {
    if (everConnected || isNetworkDown()) return null;
    if (error instanceof PresenceHttpError) {
      return mayRetry(closeCodeOf(error)) && error.status < 500 && error.status !== 429
        ? new Error(`${error.message}. Does Greendot run at ${base}?`)
        : null;
    }
    return isCrossOrigin(base)
      ? new Error(
          `cannot reach ${base}. Either it is down, or it refuses pages of ${location.origin}. ` +
            "If it refuses them, its log says so: add the origin to PRESENCE_ALLOWED_ORIGINS",
        )
      : null;
  }

  /**
   * Statuses become stale one interval after the last answer. While a socket is open, socket.js
   * checks this. This timer covers the time before a socket is open, however long a token takes.
   */
  function startStaleTimer() {
    cancelStale();
    const now = Date.now();
    const graceEnd = navigationGraceUntil > now ? navigationGraceUntil : Infinity;
    const until = Math.min(lastHeardAt + interval, graceEnd);
    cancelStale = after(Math.max(0, until - now), () =>
      store.setState((state) => (state.stale ? state : { stale: true })),
    );
  }

  /** REST is for the first start only: its answers never replace what a socket said. */
  function shouldHydrate() {
    const hasTimestamps = Object.keys(store.getState().timestamps).length > 0;
    const { ticket, hydrate = ticket === undefined || token !== undefined } = options;
    return hydrate && !hydrated && !hasTimestamps && rejections === 0;
  }

  /**
   * @param {Rest} rest
   * @param {number} attempt
   */
  async function hydrate(rest, attempt) {
    try {
      const { statuses, details } = await rest.statuses(wantsDetail);
      // The snapshot is newer and complete. REST only covers the time before it.
      if (attempt !== currentAttempt || hasSnapshot) return;
      hydrated = true;
      lastHeardAt = Date.now();
      startStaleTimer();
      store.getState().setMultipleStatuses(statuses, details);
      if (attempt === currentAttempt) store.setState({ stale: false });
    } catch (error) {
      if (attempt !== currentAttempt) return;
      // If the error is retryable, the socket's own attempt decides. With a ticket it decides
      // about 401 and 403 too: the ticket is for the socket, and REST may have no token.
      const socketDecides = mayRetry(closeCodeOf(error)) || options.ticket !== undefined;
      if (!isRetryable(error) || !socketDecides) handleFailure(error);
    }
  }

  /** @param {Frame} frame */
  function handleFrame({ event, data }) {
    const attempt = currentAttempt;
    lastHeardAt = Date.now();
    if (event === FROM_SERVER.WELCOME) {
      hasWelcome = everConnected = true;
      rejections = 0;
      rejectionReported = false;
      interval = Number(data["heartbeat_interval"]) * 1000 || interval;
      store.setState({ connection: "live" });
    } else if (event === FROM_SERVER.SNAPSHOT) {
      const statuses = /** @type {Record<string, WireStatus>} */ (data["statuses"]);
      // The server may have read the first snapshot before it sent the latest events. So keep the
      // users of these events. A later snapshot may remove users, so then keep none.
      const keep = hasSnapshot ? new Set() : updatedIds;
      hasSnapshot = true;
      hydrated = true;
      navigationGraceUntil = 0;
      cancelStale();
      store.applySnapshot(statuses, updatedIds, keep);
      if (attempt === currentAttempt) store.setState({ stale: false });
      if (attempt === currentAttempt) hooks.onSnapshot?.();
    } else if (event === FROM_SERVER.STATUS) {
      const id = String(data["user_id"]);
      updatedIds.add(id);
      const online = data["status"] === ONLINE;
      const detail = /** @type {Detail | null | undefined} */ (data["detail"]);
      store.getState().setStatus(id, online, Number(data["timestamp"]), detail);
    } else if (event === FROM_SERVER.DETAIL) {
      const detail = /** @type {Detail | null} */ (data["detail"] ?? null);
      store.getState().setDetail(String(data["user_id"]), detail, Number(data["timestamp"]));
    } else if (event === FROM_SERVER.SETTINGS) {
      store.setState({ myPresence: /** @type {MyPresence} */ (/** @type {unknown} */ (data)) });
    } else if (event === FROM_SERVER.HEARTBEAT_ACK) {
      outageStartedAt = 0; // the connection works: the next outage is a new one
    } else if (event === FROM_SERVER.GOING_AWAY) {
      planReconnect(Number(data["reconnect_in"]) * 1000 || 0);
    } else if (event === FROM_SERVER.TOKEN_EXPIRING) {
      void refreshToken(attempt);
    }
    options.onFrame?.({ event, data }, "in");
    if (event === FROM_SERVER.WELCOME) hooks.onWelcome?.(Number(data["idle_after"]));
  }

  /**
   * Send a new token, so that the socket outlives the old one. If the function fails, the server
   * closes the socket when the old one ends, and the client reconnects.
   *
   * @param {number} attempt
   */
  async function refreshToken(attempt) {
    if (token === undefined || typeof options.token === "string") return; // it is the same again
    try {
      const fresh = await token.get();
      if (attempt !== currentAttempt || fresh.length > MAX_REFRESH_LENGTH) return;
      socket?.send(TO_SERVER.REFRESH, { token: fresh });
    } catch (error) {
      // After another error, the attempt after the close asks again, and reports what is wrong.
      if (attempt === currentAttempt && error instanceof PresenceSignedOut) handleFailure(error);
    }
  }

  /** @param {boolean} silent */
  function handleSilence(silent) {
    store.setState(
      silent
        ? { connection: disconnectedState(), stale: true }
        : { connection: "live", stale: !hasSnapshot },
    );
  }

  /** @param {number} delay */
  function planReconnect(delay) {
    plannedReconnectAt = Date.now() + delay;
    scheduleRetry(delay, "planned");
  }

  /**
   * @param {number} delay
   * @param {"backoff" | "planned"} kind
   */
  function scheduleRetry(delay, kind) {
    cancelRetry();
    scheduled = kind;
    cancelRetry = after(delay, () => void startAttempt());
  }

  /**
   * Whether a 4401 means that the token has expired and that a fresh one may be available. A
   * token that is refused before the welcome was fresh, so there is no better one.
   *
   * @param {number} code
   */
  function hasExpired(code) {
    const isRenewable = typeof (options.ticket ?? options.token) !== "string"; // function or cookie
    return code === CLOSE.NOT_AUTHENTICATED && hasWelcome && isRenewable;
  }

  /**
   * @param {number} code
   * @param {string} [reason] the text in the server's close frame
   */
  function handleClose(code, reason = "") {
    const plannedAt = plannedReconnectAt;
    const expired = hasExpired(code);
    const now = Date.now();
    const isNavigation =
      code === CLOSE.GOING_AWAY && (hasSnapshot || now < navigationGraceUntil);
    if (!mayRetry(code) && !expired) {
      deny(code, reason);
      return;
    }
    reset()?.close(CLOSE.NORMAL);
    outageStartedAt ||= now;
    const minDelay = Math.max(
      minRetryDelay(code),
      minDelayAfterRejections(rejections),
      minDelayAfterSecretFailures(secretFailures),
    );
    let delay = retryDelay(now - outageStartedAt, minDelay, random);
    if (plannedAt !== null) delay = Math.max(0, plannedAt - now);
    else if (expired) delay = 0; // the server runs, and only wants a fresh token
    else if (isNavigation && now - navigationCloseAt > NAVIGATION_SPACING) {
      delay = random() * NAVIGATION_JITTER;
    }
    if (isNavigation) {
      lastHeardAt = navigationCloseAt = now;
      navigationGraceUntil = now + NAVIGATION_GRACE;
    }
    scheduleRetry(delay, plannedAt === null ? "backoff" : "planned");
    if (now < navigationGraceUntil) {
      startStaleTimer();
      store.setState({ connection: disconnectedState() });
    } else store.setState({ connection: disconnectedState(), stale: true });
    options.onClose?.(code, delay);
  }

  /**
   * Stop, because the user has no access.
   *
   * @param {number} code
   * @param {string} reason
   */
  function deny(code, reason) {
    reset()?.close(CLOSE.NORMAL);
    hooks.onStopping?.();
    stop();
    options.onClose?.(code, null);
    options.onDenied?.(code, reason);
  }

  /** @param {number} slept */
  function wake(slept) {
    if (scheduled === "backoff" || (scheduled === "planned" && slept > 0)) void startAttempt();
    else if (isNetworkDown()) socket?.suspect();
    else socket?.check(slept);
  }

  function onOffline() {
    // A server on this computer or in a local network can still answer. So check first.
    store.setState({ connection: "offline", stale: true });
    socket?.suspect();
  }

  function stop() {
    active = false;
    hydrated = false;
    stopWatching();
    const old = reset();
    store.setState({ connection: "offline", stale: true });
    return old;
  }

  return {
    connect,
    wake,
    sendActivity: (idle) => hasWelcome && (socket?.send(TO_SERVER.ACTIVITY, { idle }) ?? false),
    retryNow: () => void (scheduled !== "none" && startAttempt()),
    leave: async () => stop()?.leave(),
    close: () => stop()?.close(CLOSE.NORMAL),
    isActive: () => active,
    interval: () => interval,
  };
}
