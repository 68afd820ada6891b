/**
 * The wire: every event name, close code and path that the client shares with the
 * server, in this one file. The server's twin is models/events.py.
 */

/** Events that the server sends. */
export const FROM_SERVER = Object.freeze({
  WELCOME: "welcome",
  SNAPSHOT: "presence_snapshot",
  STATUS: "friend_status_changed",
  HEARTBEAT_ACK: "heartbeat_ack",
  ERROR: "error",
  GOING_AWAY: "going_away",
});

/** Events that the client sends. */
export const TO_SERVER = Object.freeze({
  HEARTBEAT: "heartbeat",
  LEAVE: "leave",
});

export const ONLINE = "online";

export const PATHS = Object.freeze({
  SOCKET: "/ws",
  TICKET: "/api/ws-ticket",
  FRIENDS: "/api/friends/online-status",
  CONVERSATIONS: "/api/conversations/online-status",
});

/** Close codes that the client itself sends or that need more than "try again". */
export const CLOSE = Object.freeze({
  NORMAL: 1000,
  GOING_AWAY: 1001, // Firefox: the page may be about to go
  PROTOCOL_ERROR: 1002,
  NOT_HEARD: 1006, // never on the wire: the browser's word for "no close frame came"
  INVALID_DATA: 1007,
  TOO_BIG: 1009,
  INTERNAL_ERROR: 1011,
  TOO_SLOW: 1013,
  BAD_FRAME: 4400,
  NOT_AUTHENTICATED: 4401,
  NOT_ALLOWED: 4403,
  TOO_MANY: 4429,
  SILENT_SERVER: 4000, // ours: no answer to a heartbeat
});

/**
 * Whether a client should come back after this close code with what it has. The server
 * has said who may not: everything else (4408, 4429, 1012, 1013, a cut line, ...) is
 * worth a try.
 *
 * @param {number} code
 * @returns {boolean}
 */
export function mayRetry(code) {
  return code !== CLOSE.NOT_AUTHENTICATED && code !== CLOSE.NOT_ALLOWED;
}

/** @type {Record<number, number>} */
const LEAST_WAITS = {
  [CLOSE.TOO_MANY]: 2_500,
  [CLOSE.TOO_SLOW]: 2_500,
  [CLOSE.INTERNAL_ERROR]: 2_500,
  // Not understood at all: perhaps another version runs soon.
  [CLOSE.PROTOCOL_ERROR]: 30_000,
  [CLOSE.INVALID_DATA]: 30_000,
  [CLOSE.BAD_FRAME]: 30_000,
  [CLOSE.TOO_BIG]: 30_000,
};

/**
 * The least wait before the next try, in milliseconds: a server that said "too many"
 * or "too slow" is given more room than one that merely restarted.
 *
 * @param {number} code
 * @returns {number}
 */
export function leastWait(code) {
  return LEAST_WAITS[code] ?? 0;
}

/**
 * @typedef {{status: string, timestamp?: number | null, last_seen?: number | null}} WireStatus
 * @typedef {{event: string, data: Record<string, unknown>}} Frame
 */

/**
 * One text frame as sent on the wire.
 *
 * @param {string} event
 * @param {Record<string, unknown>} [data]
 * @returns {string}
 */
export function encode(event, data = {}) {
  return JSON.stringify({ event, data });
}

/**
 * The frame in a text message; null for what is not one (a client ignores those:
 * a newer server may speak of things that this version does not know).
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
