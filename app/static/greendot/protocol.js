/**
 * The protocol: every event name, path and close code, and what a close code means for the next
 * attempt. Its counterpart on the server is models/events.py.
 */

/** Events that the server sends. */
export const FROM_SERVER = Object.freeze({
  WELCOME: "welcome",
  SNAPSHOT: "presence_snapshot",
  STATUS: "friend_status_changed",
  DETAIL: "friend_detail_changed",
  SETTINGS: "presence_settings_changed",
  HEARTBEAT_ACK: "heartbeat_ack",
  ERROR: "error",
  GOING_AWAY: "going_away",
  TOKEN_EXPIRING: "token_expiring",
  TOKEN_REFRESHED: "token_refreshed",
});

/** Events that the client sends. */
export const TO_SERVER = Object.freeze({
  HEARTBEAT: "heartbeat",
  ACTIVITY: "activity",
  LEAVE: "leave",
  REFRESH: "refresh",
});

export const ONLINE = "online";

export const PATHS = Object.freeze({
  SOCKET: "/ws",
  TICKET: "/api/ws-ticket",
  FRIENDS: "/api/friends/online-status",
  CONVERSATIONS: "/api/conversations/online-status",
  ME: "/api/me/presence",
});

/** Asks for details, in the URL of the socket and of the status maps. */
export const WITH_DETAIL = "detail=1";

/** Close codes that the client sends itself, or after which it does more than try again. */
export const CLOSE = Object.freeze({
  NORMAL: 1000,
  GOING_AWAY: 1001, // Firefox closes so when the page may be about to navigate away
  PROTOCOL_ERROR: 1002,
  ABNORMAL: 1006, // set by the browser when no close frame came; never sent
  INVALID_DATA: 1007,
  TOO_BIG: 1009,
  INTERNAL_ERROR: 1011,
  TRY_AGAIN_LATER: 1013,
  BAD_FRAME: 4400,
  NOT_AUTHENTICATED: 4401,
  NOT_ALLOWED: 4403,
  TOO_MANY: 4429,
  HEARTBEAT_TIMEOUT: 4000, // set by this client when a heartbeat is not answered
});

/**
 * Whether the client may try again, with the same token, after this close code. Only 4401 and
 * 4403 are final. After any other code (4408, 4429, 1012, 1013, a lost connection, ...) it may.
 *
 * @param {number} code
 * @returns {boolean}
 */
export function mayRetry(code) {
  return code !== CLOSE.NOT_AUTHENTICATED && code !== CLOSE.NOT_ALLOWED;
}

/** @type {Record<number, number>} */
const MIN_RETRY_DELAYS = {
  [CLOSE.TOO_MANY]: 2_500,
  [CLOSE.TRY_AGAIN_LATER]: 2_500,
  [CLOSE.INTERNAL_ERROR]: 2_500,
  // Client and server do not understand each other. A new version may be deployed soon.
  [CLOSE.PROTOCOL_ERROR]: 30_000,
  [CLOSE.INVALID_DATA]: 30_000,
  [CLOSE.BAD_FRAME]: 30_000,
  [CLOSE.TOO_BIG]: 30_000,
};

/**
 * The minimum wait before the next attempt, in milliseconds. A server that is overloaded gets
 * more time than one that only restarts.
 *
 * @param {number} code
 * @returns {number}
 */
export function minRetryDelay(code) {
  return MIN_RETRY_DELAYS[code] ?? 0;
}

/**
 * @typedef {{
 *   status: string, timestamp?: number | null, last_seen?: number | null,
 *   detail?: import("./detail.js").Detail | null,
 * }} WireStatus
 * @typedef {{event: string, data: Record<string, unknown>}} Frame
 */

/**
 * Encode one text frame.
 *
 * @param {string} event
 * @param {Record<string, unknown>} [data]
 * @returns {string}
 */
export function encode(event, data = {}) {
  return JSON.stringify({ event, data });
}

/**
 * Decode one text frame. Anything else gives null and is ignored: a newer server may send
 * messages that this version does not know.
 *
 * @param {unknown} text
 * @returns {Frame | null}
 */
export function decode(text) {
  if (typeof text !== "string") return null;
  try {
    const frame = JSON.parse(text);
    if (typeof frame?.event !== "string") return null;
    return { event: frame.event, data: frame.data ?? {} };
  } catch {
    return null;
  }
}
