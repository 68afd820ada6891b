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
    reason?: string;
    interval?: number;
};
/**
 * Locks are in secure contexts only (https, or localhost). Both may be there and still be
 * refused: in a sandboxed frame, or where the user forbids a site to store anything.
 *
 * @returns {Promise<boolean>}
 */
export declare function canShare(): Promise<boolean>;
/**
 * @param {string} name the same in all tabs of one user, and in no other
 * @param {PresenceStore} store
 * @param {Connection} own used while this tab leads
 * @param {(code: number, reason: string) => void} onDenied another tab was refused for all
 *   of us
 * @returns {Connection & {
 *   hush: () => void, denied: (code: number, reason: string) => void,
 * }} `hush`: `own` stops by itself, which is no news for tabs that go on; `denied`: it was
 *   refused
 */
export declare function shareAmongTabs(name: string, store: PresenceStore, own: Connection, onDenied: (code: number, reason: string) => void): Connection & {
    hush: () => void;
    denied: (code: number, reason: string) => void;
};
