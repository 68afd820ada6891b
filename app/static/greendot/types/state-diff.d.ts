/**
 * The difference between two states of the store, as plain data for a BroadcastChannel. With it
 * the other tabs' stores follow the leader's. All functions are pure.
 */
export type Detail = import("./detail.js").Detail;
export type MyPresence = import("./my-presence.js").MyPresence;
export type ConnectionState = import("./store.js").ConnectionState;
export type PresenceState = import("./store.js").PresenceState;
export type Row = [
    id: string,
    online: boolean,
    timestamp: number | null,
    seen: number | null,
    detail?: Detail | null | undefined
];
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
    myPresence?: MyPresence;
};
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
export declare function applyDiff(state: PresenceState, diff: StateDiff): Partial<PresenceState>;
