/**
 * One socket for all tabs of a browser that show the same user. A lock of the browser
 * (Web Locks) makes one tab the leader: it alone has a connection, and tells the others
 * by BroadcastChannel. When its tab is closed, the next in the queue leads.
 */
export type Connection = import("./connection.js").Connection;
export type Patch = import("./patches.js").Patch;
export type PresenceStore = import("./store.js").PresenceStore;
export type Message = Patch & {
    from: string;
    kind: "hello" | "wake" | "retry" | "leave" | "left" | "denied" | "patch";
    to?: string;
    code?: number;
    interval?: number;
};
/** @returns {boolean} */
export declare const canShare: () => boolean;
/**
 * @param {string} name the same in all tabs of one user, and in no other
 * @param {PresenceStore} store
 * @param {Connection} own used while this tab leads
 * @param {(code: number) => void} onDenied another tab was refused for all of us
 * @returns {Connection & {denied: (code: number) => void}} `denied`: `own` was refused
 */
export declare function shareAmongTabs(name: string, store: PresenceStore, own: Connection, onDenied: (code: number) => void): Connection & {
    denied: (code: number) => void;
};
