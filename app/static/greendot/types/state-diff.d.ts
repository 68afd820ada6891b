/**
 * The difference between two states of the store, as plain data for a BroadcastChannel. With it
 * the other tabs' stores follow the leader's. All functions are pure.
 */
export type ConnectionState = import("./store.js").ConnectionState;
export type PresenceState = import("./store.js").PresenceState;
export type Row = [id: string, online: boolean, timestamp: number | null, seen: number | null];
export type StateDiff = {
    /**
     * the rows are the full state: users that are missing are removed
     */
    whole?: boolean;
    /**
     * users with a new status
     */
    rows?: Row[];
    /**
     * users who are no longer relevant
     */
    gone?: string[];
    connection?: ConnectionState;
    stale?: boolean;
};
/** @typedef {import("./store.js").ConnectionState} ConnectionState */
/** @typedef {import("./store.js").PresenceState} PresenceState */
/** @typedef {[id: string, online: boolean, timestamp: number | null, seen: number | null]} Row */
/**
 * Tabs may run different versions of the client, so these names are a contract.
 *
 * @typedef {object} StateDiff
 * @property {boolean} [whole] the rows are the full state: users that are missing are removed
 * @property {Row[]} [rows] users with a new status
 * @property {string[]} [gone] users who are no longer relevant
 * @property {ConnectionState} [connection]
 * @property {boolean} [stale]
 */
/**
 * @param {PresenceState} state
 * @returns {StateDiff} turns any other state into this one
 */
export declare function fullDiff(state: PresenceState): StateDiff;
/**
 * @param {PresenceState} previous
 * @param {PresenceState} state
 * @returns {StateDiff} turns the previous state into this one
 */
export declare function stateDiff(previous: PresenceState, state: PresenceState): StateDiff;
/**
 * @param {PresenceState} state
 * @param {StateDiff} diff
 * @returns {Partial<PresenceState>} the changed fields, for `setState`
 */
export declare function applyDiff(state: PresenceState, { whole, rows, gone, connection, stale }: StateDiff): Partial<PresenceState>;
