/**
 * The store: which users are online, as far as this page knows. It has the interface of
 * Zustand's vanilla store (getState, setState, subscribe, getInitialState). So Zustand's
 * `useStore(store, selector)` works with it, but nothing here needs Zustand.
 *
 * Per user the newest timestamp wins: an older or equal one is ignored. A value without a
 * timestamp counts as older than any value with one.
 */
export type ConnectionState = "live" | "reconnecting" | "offline";
export type Detail = import("./detail.js").Detail;
export type MyPresence = import("./my-presence.js").MyPresence;
export type WireStatus = import("./protocol.js").WireStatus;
export type PresenceState = {
    /**
     * last known status by user id. While `stale` it
     * may be wrong: show what `isOnline` returns
     */
    statuses: Record<string, boolean>;
    /**
     * by user id, milliseconds since the epoch; without
     * users who were never seen. It is exact as of the last snapshot. A later event sets it to the
     * time at which the user came online or was counted as offline. A silent user is counted as
     * offline one online TTL after the last heartbeat
     */
    lastSeen: Record<string, number>;
    /**
     * last known detail by user id; null for a user
     * who is offline. Empty if the client does not ask for details, or if the server has none. While
     * `stale` it may be wrong: show what `detailOf` returns
     */
    details: Record<string, Detail | null>;
    /**
     * the signed-in user's own settings. Null until
     * `loadMyPresence()` or `changeMyPresence()` was called, or another device has changed them
     */
    myPresence: MyPresence | null;
    /**
     * of `statuses`, by user id
     */
    timestamps: Record<string, number>;
    /**
     * of details that are newer than the status,
     * by user id
     */
    detailTimestamps: Record<string, number>;
    connection: ConnectionState;
    /**
     * the client does not hear the server, so `statuses` may be wrong
     */
    stale: boolean;
    setStatus: (id: string, online: boolean, timestamp?: number, detail?: Detail | null) => void;
    setMultipleStatuses: (statuses: Record<string, boolean>, details?: Record<string, Detail | null>) => void;
    /**
     * changes the
     * detail of a user who is online. Does nothing for any other user
     */
    setDetail: (id: string, detail: Detail | null, timestamp: number) => void;
    /**
     * never true while stale
     */
    isOnline: (id: string) => boolean;
    /**
     * null while `isOnline` is false
     */
    detailOf: (id: string) => Detail | null;
};
export type PartialPresenceState = Partial<PresenceState>;
export type PresenceListener = (state: PresenceState, previous: PresenceState) => void;
export type PresenceStore = {
    getState: () => PresenceState;
    getInitialState: () => PresenceState;
    setState: {
        (partial: PartialPresenceState | ((state: PresenceState) => PartialPresenceState), replace?: false): void;
        (state: PresenceState | ((state: PresenceState) => PresenceState), replace: true): void;
    };
    subscribe: (listener: PresenceListener) => () => void;
    /**
     * calls the listener
     * only when this user's status, detail or last seen changes, or `stale` does
     */
    subscribeUser: (id: string, listener: () => void) => () => void;
    /**
     * replaces all statuses. `updatedIds`:
     * users with an event on the same connection; their status is kept if it is newer. `keepIds`:
     * users to keep although the snapshot lacks them (default: `updatedIds`)
     */
    applySnapshot: (snapshot: Record<string, WireStatus>, updatedIds?: ReadonlySet<string>, keepIds?: ReadonlySet<string>) => void;
};
/** @typedef {"live" | "reconnecting" | "offline"} ConnectionState */
/** @typedef {import("./detail.js").Detail} Detail */
/** @typedef {import("./my-presence.js").MyPresence} MyPresence */
/** @typedef {import("./protocol.js").WireStatus} WireStatus */
/**
 * @typedef {object} PresenceState
 * @property {Record<string, boolean>} statuses last known status by user id. While `stale` it
 *   may be wrong: show what `isOnline` returns
 * @property {Record<string, number>} lastSeen by user id, milliseconds since the epoch; without
 *   users who were never seen. It is exact as of the last snapshot. A later event sets it to the
 *   time at which the user came online or was counted as offline. A silent user is counted as
 *   offline one online TTL after the last heartbeat
 * @property {Record<string, Detail | null>} details last known detail by user id; null for a user
 *   who is offline. Empty if the client does not ask for details, or if the server has none. While
 *   `stale` it may be wrong: show what `detailOf` returns
 * @property {MyPresence | null} myPresence the signed-in user's own settings. Null until
 *   `loadMyPresence()` or `changeMyPresence()` was called, or another device has changed them
 * @property {Record<string, number>} timestamps of `statuses`, by user id
 * @property {Record<string, number>} detailTimestamps of details that are newer than the status,
 *   by user id
 * @property {ConnectionState} connection
 * @property {boolean} stale the client does not hear the server, so `statuses` may be wrong
 * @property {(
 *   id: string, online: boolean, timestamp?: number, detail?: Detail | null,
 * ) => void} setStatus
 * @property {(
 *   statuses: Record<string, boolean>, details?: Record<string, Detail | null>,
 * ) => void} setMultipleStatuses
 * @property {(id: string, detail: Detail | null, timestamp: number) => void} setDetail changes the
 *   detail of a user who is online. Does nothing for any other user
 * @property {(id: string) => boolean} isOnline never true while stale
 * @property {(id: string) => Detail | null} detailOf null while `isOnline` is false
 */
/** @typedef {Partial<PresenceState>} PartialPresenceState */
/** @typedef {(state: PresenceState, previous: PresenceState) => void} PresenceListener */
/**
 * @typedef {object} PresenceStore
 * @property {() => PresenceState} getState
 * @property {() => PresenceState} getInitialState
 * @property {{
 *   (partial: PartialPresenceState | ((state: PresenceState) => PartialPresenceState),
 *     replace?: false): void,
 *   (state: PresenceState | ((state: PresenceState) => PresenceState), replace: true): void,
 * }} setState
 * @property {(listener: PresenceListener) => () => void} subscribe
 * @property {(id: string, listener: () => void) => () => void} subscribeUser calls the listener
 *   only when this user's status, detail or last seen changes, or `stale` does
 * @property {(snapshot: Record<string, WireStatus>, updatedIds?: ReadonlySet<string>,
 *   keepIds?: ReadonlySet<string>) => void} applySnapshot replaces all statuses. `updatedIds`:
 *   users with an event on the same connection; their status is kept if it is newer. `keepIds`:
 *   users to keep although the snapshot lacks them (default: `updatedIds`)
 */
/**
 * @param {object} record
 * @param {string} id
 * @returns {boolean} whether the record has an entry for this user
 */
export declare const hasOwn: (record: object, id: string) => boolean;
/**
 * A user's entry, if there is one. User ids are any strings, such as "constructor", which every
 * plain object inherits.
 *
 * @template T
 * @param {Record<string, T>} record
 * @param {string} id
 * @returns {T | undefined}
 */
export declare function getOwn<T>(record: Record<string, T>, id: string): T | undefined;
export type Row = {
    online: boolean;
    timestamp: number;
    /**
     * 0: never
     */
    seen: number;
    /**
     * undefined: the user has no entry
     */
    detail: Detail | null | undefined;
    detailTimestamp?: number;
};
/**
 * All that the store has of one user, as a snapshot sets it.
 *
 * @typedef {object} Row
 * @property {boolean} online
 * @property {number} timestamp
 * @property {number} seen 0: never
 * @property {Detail | null | undefined} detail undefined: the user has no entry
 * @property {number} [detailTimestamp]
 */
/** The records whose entries `subscribeUser` follows. */
declare const OF_A_USER: readonly ["statuses", "details", "lastSeen"];
/**
 * @param {PresenceState} state
 * @param {typeof OF_A_USER[number] | "timestamps"} name of a record
 * @param {string} id
 * @returns {unknown} the user's entry
 */
export declare const valueIn: (state: PresenceState, name: typeof OF_A_USER[number] | "timestamps", id: string) => unknown;
/**
 * @param {import("./errors.js").Report} [report] is called with what a listener throws. The
 *   other listeners are called all the same
 * @returns {PresenceStore}
 */
export declare function createPresenceStore(report?: import("./errors.js").Report): PresenceStore;
export {};
