/**
 * The protocol: every event name, path and close code, and what a close code means for the next
 * attempt. Its counterpart on the server is models/events.py.
 */
/** Events that the server sends. */
export declare const FROM_SERVER: Readonly<{
    WELCOME: "welcome";
    SNAPSHOT: "presence_snapshot";
    STATUS: "friend_status_changed";
    DETAIL: "friend_detail_changed";
    SETTINGS: "presence_settings_changed";
    HEARTBEAT_ACK: "heartbeat_ack";
    ERROR: "error";
    GOING_AWAY: "going_away";
    TOKEN_EXPIRING: "token_expiring";
    TOKEN_REFRESHED: "token_refreshed";
}>;
/** Events that the client sends. */
export declare const TO_SERVER: Readonly<{
    HEARTBEAT: "heartbeat";
    ACTIVITY: "activity";
    LEAVE: "leave";
    REFRESH: "refresh";
}>;
export declare const ONLINE = "online";
export declare const PATHS: Readonly<{
    SOCKET: "/ws";
    TICKET: "/api/ws-ticket";
    FRIENDS: "/api/friends/online-status";
    CONVERSATIONS: "/api/conversations/online-status";
    ME: "/api/me/presence";
}>;
/** Asks for details, in the URL of the socket and of the status maps. */
export declare const WITH_DETAIL = "detail=1";
/** Close codes that the client sends itself, or after which it does more than try again. */
export declare const CLOSE: Readonly<{
    NORMAL: 1000;
    GOING_AWAY: 1001;
    PROTOCOL_ERROR: 1002;
    ABNORMAL: 1006;
    INVALID_DATA: 1007;
    TOO_BIG: 1009;
    INTERNAL_ERROR: 1011;
    TRY_AGAIN_LATER: 1013;
    BAD_FRAME: 4400;
    NOT_AUTHENTICATED: 4401;
    NOT_ALLOWED: 4403;
    TOO_MANY: 4429;
    HEARTBEAT_TIMEOUT: 4000;
}>;
/**
 * Whether the client may try again, with the same token, after this close code. Only 4401 and
 * 4403 are final. After any other code (4408, 4429, 1012, 1013, a lost connection, ...) it may.
 *
 * @param {number} code
 * @returns {boolean}
 */
export declare function mayRetry(code: number): boolean;
/**
 * The minimum wait before the next attempt, in milliseconds. A server that is overloaded gets
 * more time than one that only restarts.
 *
 * @param {number} code
 * @returns {number}
 */
export declare function minRetryDelay(code: number): number;
export type WireStatus = {
    status: string;
    timestamp?: number | null;
    last_seen?: number | null;
    detail?: import("./detail.js").Detail | null;
};
export type Frame = {
    event: string;
    data: Record<string, unknown>;
};
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
export declare function encode(event: string, data?: Record<string, unknown>): string;
/**
 * Decode one text frame. Anything else gives null and is ignored: a newer server may send
 * messages that this version does not know.
 *
 * @param {unknown} text
 * @returns {Frame | null}
 */
export declare function decode(text: unknown): Frame | null;
