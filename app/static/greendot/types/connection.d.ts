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
/** @typedef {import("./client.js").PresenceClientOptions} PresenceClientOptions */
/** @typedef {import("./protocol.js").Frame} Frame */
/** @typedef {import("./protocol.js").WireStatus} WireStatus */
/** @typedef {import("./socket.js").PresenceSocket} PresenceSocket */
/** @typedef {import("./store.js").PresenceStore} PresenceStore */
/** @typedef {ReturnType<typeof createRest>} Rest */
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
 * @returns {Connection}
 */
export declare function createConnection(base: string, options: PresenceClientOptions, store: PresenceStore): Connection;
