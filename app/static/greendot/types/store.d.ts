/**
 * Who is online, as far as this page may say so. It keeps Zustand's vanilla store
 * contract (getState, setState, subscribe, getInitialState), so Zustand's own
 * `useStore(store, selector)` works with it; nothing here needs Zustand.
 *
 * Per user the newest timestamp wins; what is not newer is dropped. A value without a
 * timestamp counts as older than every value with one.
 */
export type ConnectionState = "live" | "reconnecting" | "offline";
export type WireStatus = import("./protocol.js").WireStatus;
export type PresenceState = {
    /**
     * last known status by user id; while
     * `stale`, nobody vouches for it: show what `isOnline` answers
     */
    statuses: Record<string, boolean>;
    /**
     * by user id, milliseconds since the epoch;
     * nothing for who was never seen. Exact as of the last snapshot. An event since then
     * says when somebody came or was counted as gone, up to an online TTL after the last
     * sign of life
     */
    lastSeen: Record<string, number>;
    /**
     * of the status kept, by user id
     */
    timestamps: Record<string, number>;
    connection: ConnectionState;
    /**
     * the socket is away, so nothing said here is known to hold
     */
    stale: boolean;
    setStatus: (id: string, online: boolean, timestamp?: number) => void;
    setMultipleStatuses: (statuses: Record<string, boolean>) => void;
    /**
     * never true while stale
     */
    isOnline: (id: string) => boolean;
};
export type PresencePatch = Partial<PresenceState>;
export type PresenceListener = (state: PresenceState, previous: PresenceState) => void;
export type PresenceStore = {
    getState: () => PresenceState;
    getInitialState: () => PresenceState;
    setState: {
        (patch: PresencePatch | ((state: PresenceState) => PresencePatch), replace?: false): void;
        (state: PresenceState | ((state: PresenceState) => PresenceState), replace: true): void;
    };
    subscribe: (listener: PresenceListener) => () => void;
    /**
     * woken only
     * when what is known of this user changes (or when `stale` does)
     */
    subscribeUser: (id: string, listener: () => void) => () => void;
    /**
     * the full map. Users in `live`, of
     * whom an event came on the same connection, keep their status if it is newer;
     * whoever is missing in the map is dropped, but for users in `keep` (default: `live`)
     */
    applySnapshot: (snapshot: Record<string, WireStatus>, live?: ReadonlySet<string>, keep?: ReadonlySet<string>) => void;
};
/** @typedef {"live" | "reconnecting" | "offline"} ConnectionState */
/** @typedef {import("./protocol.js").WireStatus} WireStatus */
/**
 * @typedef {object} PresenceState
 * @property {Record<string, boolean>} statuses last known status by user id; while
 *   `stale`, nobody vouches for it: show what `isOnline` answers
 * @property {Record<string, number>} lastSeen by user id, milliseconds since the epoch;
 *   nothing for who was never seen. Exact as of the last snapshot. An event since then
 *   says when somebody came or was counted as gone, up to an online TTL after the last
 *   sign of life
 * @property {Record<string, number>} timestamps of the status kept, by user id
 * @property {ConnectionState} connection
 * @property {boolean} stale the socket is away, so nothing said here is known to hold
 * @property {(id: string, online: boolean, timestamp?: number) => void} setStatus
 * @property {(statuses: Record<string, boolean>) => void} setMultipleStatuses
 * @property {(id: string) => boolean} isOnline never true while stale
 */
/** @typedef {Partial<PresenceState>} PresencePatch */
/** @typedef {(state: PresenceState, previous: PresenceState) => void} PresenceListener */
/**
 * @typedef {object} PresenceStore
 * @property {() => PresenceState} getState
 * @property {() => PresenceState} getInitialState
 * @property {{
 *   (patch: PresencePatch | ((state: PresenceState) => PresencePatch), replace?: false): void,
 *   (state: PresenceState | ((state: PresenceState) => PresenceState), replace: true): void,
 * }} setState
 * @property {(listener: PresenceListener) => () => void} subscribe
 * @property {(id: string, listener: () => void) => () => void} subscribeUser woken only
 *   when what is known of this user changes (or when `stale` does)
 * @property {(snapshot: Record<string, WireStatus>, live?: ReadonlySet<string>,
 *   keep?: ReadonlySet<string>) => void} applySnapshot the full map. Users in `live`, of
 *   whom an event came on the same connection, keep their status if it is newer;
 *   whoever is missing in the map is dropped, but for users in `keep` (default: `live`)
 */
/**
 * @param {object} record
 * @param {string} id
 * @returns {boolean} whether it has a value of its own for this user
 */
export declare const has: (record: object, id: string) => boolean;
/**
 * The value of a user, if there is one: ids are the host's own strings, and
 * "constructor" is a fine user id that every plain object seems to have.
 *
 * @template T
 * @param {Record<string, T>} record
 * @param {string} id
 * @returns {T | undefined}
 */
export declare function of<T>(record: Record<string, T>, id: string): T | undefined;
/**
 * @param {import("./errors.js").Report} [report] is told what a listener throws, which
 *   keeps it from no other listener
 * @returns {PresenceStore}
 */
export declare function createPresenceStore(report?: import("./errors.js").Report): PresenceStore;
