/**
 * One socket for all tabs of a browser that show the same user. A Web Lock makes one tab the
 * leader. Only the leader has a connection; it sends the state of its store to the other tabs,
 * the followers, by BroadcastChannel. When the leader's tab is closed, the next tab gets the lock.
 */
export type Connection = import("./connection.js").Connection;
export type ActivityMessage = import("./idle.js").ActivityMessage;
export type MyPresence = import("./my-presence.js").MyPresence;
export type StateDiff = import("./state-diff.js").StateDiff;
export type PresenceStore = import("./store.js").PresenceStore;
export type Message = StateDiff & ActivityMessage & {
    from: string;
    kind: "hello" | "wake" | "retry" | "leave" | "mine" | "left" | "denied" | "patch" | "activity";
    to?: string;
    code?: number;
    reason?: string;
    interval?: number;
};
/**
 * Whether tabs can share a socket. Web Locks exist in secure contexts only (https or localhost).
 * Even if both features exist, the browser may refuse them: in a sandboxed frame, or when the
 * user forbids the site to store data.
 *
 * @returns {Promise<boolean>}
 */
export declare function canShareSocket(): Promise<boolean>;
/**
 * @param {string} name of the lock and channel: the same in all tabs of one user, and in no other
 * @param {PresenceStore} store
 * @param {Connection} connection used while this tab is the leader
 * @param {object} handlers
 * @param {(code: number, reason: string) => void} handlers.onDenied called when the server has
 *   denied another tab of this user, and so this tab too
 * @param {(tab: string, message: ActivityMessage) => void} handlers.onActivity
 * @param {() => void} handlers.onNewTab called in the leader
 * @returns {Connection & {
 *   stopBroadcast: () => void, denied: (code: number, reason: string) => void,
 *   postActivity: (message: ActivityMessage) => void, postMyPresence: (mine: MyPresence) => void,
 * }} call `stopBroadcast` when the connection stops by itself, since the other tabs go on; call
 *   `denied` when the server has denied it
 */
export declare function shareAmongTabs(name: string, store: PresenceStore, connection: Connection, { onDenied, onActivity, onNewTab }: {
    onDenied: (code: number, reason: string) => void;
    onActivity: (tab: string, message: ActivityMessage) => void;
    onNewTab: () => void;
}): Connection & {
    stopBroadcast: () => void;
    denied: (code: number, reason: string) => void;
    postActivity: (message: ActivityMessage) => void;
    postMyPresence: (mine: MyPresence) => void;
};
