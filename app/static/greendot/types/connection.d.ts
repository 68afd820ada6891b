/**
 * This page's own line to the server: connects, hydrates the store, reconnects, and
 * says honestly when it cannot vouch for what the store holds.
 */
import { createRest } from "./rest.js";
export type PresenceClientOptions = import("./client.js").PresenceClientOptions;
export type Frame = import("./protocol.js").Frame;
export type WireStatus = import("./protocol.js").WireStatus;
export type PresenceSocket = import("./socket.js").PresenceSocket;
export type PresenceStore = import("./store.js").PresenceStore;
export type Rest = ReturnType<typeof createRest>;
export type Hooks = {
    /**
     * it stops by itself, and the store does not say so yet
     */
    onStopping?: () => void;
    /**
     * no further try can mend this: it has stopped
     */
    onFatal: (error: unknown) => void;
    /**
     * something is wrong, and it goes on
     */
    report: import("./errors.js").Report;
};
export type Connection = {
    /**
     * does nothing while it is connected or
     * trying; `known`: the heartbeat interval, if another tab has heard it
     */
    connect: (known?: number) => void;
    /**
     * end the present wait for the next try
     */
    retryNow: () => void;
    /**
     * there is reason to look at the socket
     */
    wake: (slept: number) => void;
    /**
     * offline at once, without grace
     */
    leave: () => Promise<void>;
    /**
     * end this page's part; the server's grace applies
     */
    close: () => void;
    /**
     * connected or trying, and not left, closed or denied
     */
    isActive: () => boolean;
    /**
     * heartbeat interval in milliseconds
     */
    interval: () => number;
};
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
export declare function createConnection(base: string, options: PresenceClientOptions, store: PresenceStore, hooks: Hooks): Connection;
