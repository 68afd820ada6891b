/**
 * How one store's content reaches another tab's: pure functions between two states and
 * the plain rows that a BroadcastChannel carries.
 */
export type ConnectionState = import("./store.js").ConnectionState;
export type PresenceState = import("./store.js").PresenceState;
export type Row = [id: string, online: boolean, timestamp: number | null, seen: number | null];
export type Patch = {
    /**
     * the rows are all there are
     */
    whole?: boolean;
    /**
     * users whose status is new
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
 * @typedef {object} Patch
 * @property {boolean} [whole] the rows are all there are
 * @property {Row[]} [rows] users whose status is new
 * @property {string[]} [gone] users who are no longer relevant
 * @property {ConnectionState} [connection]
 * @property {boolean} [stale]
 */
/**
 * @param {PresenceState} state
 * @returns {Patch} with which any other state becomes this one
 */
export declare function wholePatch(state: PresenceState): Patch;
/**
 * @param {PresenceState} previous
 * @param {PresenceState} state
 * @returns {Patch} with which the previous state becomes this one
 */
export declare function patchBetween(previous: PresenceState, state: PresenceState): Patch;
/**
 * @param {PresenceState} state
 * @param {Patch} patch
 * @returns {Partial<PresenceState>} what is new, for `setState`
 */
export declare function applied(state: PresenceState, { whole, rows, gone, connection, stale }: Patch): Partial<PresenceState>;
