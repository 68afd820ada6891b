/**
 * The wire: every event name, close code and path that the client shares with the
 * server, in this one file. The server's twin is models/events.py.
 */
/** Events that the server sends. */
export declare const FROM_SERVER: Readonly<{
    WELCOME: "welcome";
    SNAPSHOT: "presence_snapshot";
    STATUS: "friend_status_changed";
    HEARTBEAT_ACK: "heartbeat_ack";
    ERROR: "error";
    GOING_AWAY: "going_away";
}>;
/** Events that the client sends. */
export declare const TO_SERVER: Readonly<{
    HEARTBEAT: "heartbeat";
    LEAVE: "leave";
}>;
export declare const ONLINE = "online";
export declare const PATHS: Readonly<{
    SOCKET: "/ws";
    TICKET: "/api/ws-ticket";
    FRIENDS: "/api/friends/online-status";
    CONVERSATIONS: "/api/conversations/online-status";
}>;
/** Close codes that the client itself sends or that need more than "try again". */
export declare const CLOSE: Readonly<{
    NORMAL: 1000;
    GOING_AWAY: 1001;
    PROTOCOL_ERROR: 1002;
    NOT_HEARD: 1006;
    INVALID_DATA: 1007;
    TOO_BIG: 1009;
    INTERNAL_ERROR: 1011;
    TOO_SLOW: 1013;
    BAD_FRAME: 4400;
    NOT_AUTHENTICATED: 4401;
    NOT_ALLOWED: 4403;
    TOO_MANY: 4429;
    SILENT_SERVER: 4000;
}>;
/**
 * Whether a client should come back after this close code with what it has. The server
 * has said who may not: everything else (4408, 4429, 1012, 1013, a cut line, ...) is
 * worth a try.
 *
 * @param {number} code
 * @returns {boolean}
 */
export declare function mayRetry(code: number): boolean;
/**
 * The least wait before the next try, in milliseconds: a server that said "too many"
 * or "too slow" is given more room than one that merely restarted.
 *
 * @param {number} code
 * @returns {number}
 */
export declare function leastWait(code: number): number;
export type WireStatus = {
    status: string;
    timestamp?: number | null;
    last_seen?: number | null;
};
export type Frame = {
    event: string;
    data: Record<string, unknown>;
};
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
export declare function encode(event: string, data?: Record<string, unknown>): string;
/**
 * The frame in a text message; null for what is not one (a client ignores those:
 * a newer server may speak of things that this version does not know).
 *
 * @param {unknown} text
 * @returns {Frame | null}
 */
export declare function decode(text: unknown): Frame | null;
