/** What an application makes: a presence store that is kept in step with the server. */
export type Connection = import("./connection.js").Connection;
export type Frame = import("./protocol.js").Frame;
export type Secret = import("./rest.js").Secret;
export type PresenceStore = import("./store.js").PresenceStore;
export type PresenceClientOptions = {
    /**
     * where Greendot runs (http, https, ws or wss); default: the
     * page's own origin
     */
    url?: string;
    /**
     * the user's JWT, or a function that gives a fresh one;
     * default: the cookie `presence_token`
     */
    token?: Secret;
    /**
     * a ticket for the socket, or a function that gives a new
     * one each time (a ticket works once), for pages whose own server fetches tickets
     */
    ticket?: Secret;
    /**
     * one socket for all tabs of this browser (default), or one
     * for this page
     */
    share?: boolean;
    /**
     * id of the signed-in user. Tabs share a socket only with tabs
     * of the same user. With a token it is read from there; with the cookie, name it if
     * somebody may sign in as somebody else before `leave()` was called
     */
    user?: string;
    store?: PresenceStore;
    /**
     * connect at once (default), or wait for `connect()`
     */
    autoConnect?: boolean;
    /**
     * ask REST for the first statuses (default)
     */
    hydrate?: boolean;
    fetch?: typeof globalThis.fetch;
    WebSocket?: typeof globalThis.WebSocket;
    /**
     * uniform in [0, 1)
     */
    random?: () => number;
    /**
     * the server said who may not
     * come back (4401: sign in again, 4403), and why: the client does not retry until
     * `connect()`. A secret that has expired is not that yet, where a fresh one can be had:
     * from a function, or as the cookie
     */
    onDenied?: (code: number, reason: string) => void;
    /**
     * something is wrong that is no mere outage: a
     * missing feature, a bad URL, a bug in one of these functions (which stop the client until
     * `connect()`, unless it is a bug in an `on...`), or what looks as if it lasted: a foreign
     * origin, a failing token function. The console is told too, once
     */
    onError?: (error: Error) => void;
    /**
     * every frame of
     * this page's own socket
     */
    onFrame?: (frame: Frame, direction: "in" | "out") => void;
    /**
     * this page's own
     * socket ended; milliseconds until the next try, null for none
     */
    onClose?: (code: number, retryIn: number | null) => void;
};
export type PresenceClient = {
    store: PresenceStore;
    /**
     * does nothing while it is connected or trying. Where `url` is
     * none, or there is no WebSocket, it tells `onError`; without that it throws
     */
    connect: () => void;
    /**
     * end the present wait for the next try
     */
    retryNow: () => void;
    /**
     * offline at once, without grace, in all tabs
     * (sign-out); resolves when the server has heard it, or after two seconds
     */
    leave: () => Promise<void>;
    /**
     * end this page's part; the server's grace applies
     */
    close: () => void;
};
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
export declare function createPresenceClient(options?: PresenceClientOptions): PresenceClient;
