/**
 * The connection of this page to the server: it connects, fills the store and reconnects. When
 * it does not hear the server, it marks the store as stale.
 */
import { createRest } from "./rest.js";
export type PresenceClientOptions = import("./client.js").PresenceClientOptions;
export type Detail = import("./detail.js").Detail;
export type MyPresence = import("./my-presence.js").MyPresence;
export type Frame = import("./protocol.js").Frame;
export type WireStatus = import("./protocol.js").WireStatus;
export type PresenceSocket = import("./socket.js").PresenceSocket;
export type PresenceStore = import("./store.js").PresenceStore;
export type TokenSource = import("./token.js").TokenSource;
export type Rest = ReturnType<typeof createRest>;
export type Hooks = {
    /**
     * called when the connection stops by itself, before the
     * store changes
     */
    onStopping?: () => void;
    /**
     * the connection has stopped, since no later
     * attempt can succeed
     */
    onFatal: (error: unknown) => void;
    /**
     * there is a new socket; `idleAfter`: in
     * seconds, NaN if this server takes no `activity`
     */
    onWelcome?: (idleAfter: number) => void;
    /**
     * from now on this socket gets all events
     */
    onSnapshot?: () => void;
    /**
     * called with an error after which the
     * connection goes on
     */
    report: import("./errors.js").Report;
};
export type Connection = {
    /**
     * does nothing while connected or trying;
     * `knownInterval`: the heartbeat interval (ms) that another tab got from the server
     */
    connect: (knownInterval?: number) => void;
    /**
     * end the current wait for the next attempt
     */
    retryNow: () => void;
    /**
     * the socket may have ended: check it
     */
    wake: (slept: number) => void;
    /**
     * false: there is no open socket
     */
    sendActivity: (idle: boolean) => boolean;
    /**
     * go offline immediately, without the server's grace
     */
    leave: () => Promise<void>;
    /**
     * close this page's connection; the server's grace applies
     */
    close: () => void;
    /**
     * connected or trying; false after leave, close or a denial
     */
    isActive: () => boolean;
    /**
     * heartbeat interval in milliseconds
     */
    interval: () => number;
};
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
export declare function createConnection(base: string, options: PresenceClientOptions, token: TokenSource | undefined, store: PresenceStore, hooks: Hooks): Connection;
