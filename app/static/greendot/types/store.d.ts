/**
 * The store: which users are online, as far as this page knows. It has the interface of
 * Zustand's vanilla store (getState, setState, subscribe, getInitialState). So Zustand's
 * `useStore(store, selector)` works with it, but nothing here needs Zustand.
 *
 * Per user the newest timestamp wins: an older or equal one is ignored. A value without a
 * timestamp counts as older than any value with one.
 */
export type ConnectionState = "live" | "reconnecting" | "offline";
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
     * of `statuses`, by user id
     */
    timestamps: Record<string, number>;
    connection: ConnectionState;
    /**
     * the client does not hear the server, so `statuses` may be wrong
     */
    stale: boolean;
    setStatus: (id: string, online: boolean, timestamp?: number) => void;
    setMultipleStatuses: (statuses: Record<string, boolean>) => void;
    /**
     * never true while stale
     */
    isOnline: (id: string) => boolean;
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
     * only when this user's status or last seen changes, or `stale` does
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
/** @typedef {import("./protocol.js").WireStatus} WireStatus */
/**
 * @typedef {object} PresenceState
 * @property {Record<string, boolean>} statuses last known status by user id. While `stale` it
 *   may be wrong: show what `isOnline` returns
 * @property {Record<string, number>} lastSeen by user id, milliseconds since the epoch; without
 *   users who were never seen. It is exact as of the last snapshot. A later event sets it to the
 *   time at which the user came online or was counted as offline. A silent user is counted as
 *   offline one online TTL after the last heartbeat
 * @property {Record<string, number>} timestamps of `statuses`, by user id
 * @property {ConnectionState} connection
 * @property {boolean} stale the client does not hear the server, so `statuses` may be wrong
 * @property {(id: string, online: boolean, timestamp?: number) => void} setStatus
 * @property {(statuses: Record<string, boolean>) => void} setMultipleStatuses
 * @property {(id: string) => boolean} isOnline never true while stale
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
 *   only when this user's status or last seen changes, or `stale` does
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
/**
 * @param {import("./errors.js").Report} [report] is called with what a listener throws. The
 *   other listeners are called all the same
 * @returns {PresenceStore}
 */
export declare function createPresenceStore(report?: import("./errors.js").Report): PresenceStore;
