/** The presence client: a store that is kept in step with the server. */
export type Connection = import("./connection.js").Connection;
export type MyPresence = import("./my-presence.js").MyPresence;
export type MyPresenceChanges = import("./my-presence.js").MyPresenceChanges;
export type Frame = import("./protocol.js").Frame;
export type Secret = import("./rest.js").Secret;
export type PresenceStore = import("./store.js").PresenceStore;
export type TokenSource = import("./token.js").TokenSource;
export type PresenceClientOptions = {
    /**
     * where Greendot runs (http, https, ws or wss); default: the
     * page's own origin
     */
    url?: string;
    /**
     * the user's JWT, or a function that gives a fresh one, or null if
     * nobody is signed in; default: the cookie `presence_token`
     */
    token?: Secret;
    /**
     * a ticket for the socket instead of a token, for pages whose own
     * server fetches tickets. A function gives a new one each time: a ticket works once
     */
    ticket?: Secret;
    /**
     * true (default): one socket for all tabs of this browser; false:
     * this page has its own
     */
    share?: boolean;
    /**
     * id of the signed-in user. Tabs share a socket only with tabs
     * of the same user. Default: the id in the token. With the cookie, set it if another user may
     * sign in before `leave()` was called
     */
    user?: string;
    /**
     * default: a new one
     */
    store?: PresenceStore;
    /**
     * true (default): connect immediately; false: wait for
     * `connect()`
     */
    autoConnect?: boolean;
    /**
     * get the first statuses by REST. Default: true, but false with
     * `ticket` and without `token`, because REST takes no tickets
     */
    hydrate?: boolean;
    /**
     * true (default): get availability, text and emoji of the friends,
     * and report when this user is idle; false: only online and offline, and no report
     */
    detail?: boolean;
    /**
     * true (default): find out by itself whether the user is idle; false:
     * the user is idle only while `setIdle(true)` is in force
     */
    idle?: boolean;
    fetch?: typeof globalThis.fetch;
    WebSocket?: typeof globalThis.WebSocket;
    /**
     * uniform in [0, 1)
     */
    random?: () => number;
    /**
     * the server has denied access:
     * 4401 (sign in again) or 4403, with its reason. Or the token function gave no token (4401).
     * The client stops until `connect()`. An expired token does not count if the client can get a
     * fresh one, from a function or as the cookie
     */
    onDenied?: (code: number, reason: string) => void;
    /**
     * called with every error that is no ordinary
     * outage. A missing feature, a bad URL or a bug in the token function stops the client until
     * `connect()`. After a bug in an `on...` callback, a refused origin or a failed token request
     * the client goes on. Each text is also written to the console once
     */
    onError?: (error: Error) => void;
    /**
     * every frame of
     * this page's own socket
     */
    onFrame?: (frame: Frame, direction: "in" | "out") => void;
    /**
     * this page's own
     * socket has closed. `retryIn`: milliseconds until the next attempt, null for none
     */
    onClose?: (code: number, retryIn: number | null) => void;
};
export type PresenceClient = {
    store: PresenceStore;
    /**
     * does nothing while connected or trying. If `url` is invalid, or
     * there is no WebSocket, it calls `onError`, and throws if there is no `onError`
     */
    connect: () => void;
    /**
     * end the current wait for the next attempt
     */
    retryNow: () => void;
    /**
     * say whether the user is idle, for all tabs,
     * whatever the client finds out; null: the client finds it out again
     */
    setIdle: (idle: boolean | null) => void;
    /**
     * read the user's own settings into the store.
     * Rejected if the request fails
     */
    loadMyPresence: () => Promise<MyPresence>;
    /**
     * change some of
     * the user's own settings. Rejected if the server refuses them (the error's `status` and `code`
     * say why) or the request fails
     */
    changeMyPresence: (changes: MyPresenceChanges) => Promise<MyPresence>;
    /**
     * go offline immediately, in all tabs, without the server's
     * grace: for sign-out. Resolves when the server has confirmed it, or after two seconds
     */
    leave: () => Promise<void>;
    /**
     * close this page's part; the server's grace applies
     */
    close: () => void;
};
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
export declare function createPresenceClient(options?: PresenceClientOptions): PresenceClient;
