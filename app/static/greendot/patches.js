/**
 * How one store's content reaches another tab's: pure functions between two states and
 * the plain rows that a BroadcastChannel carries.
 */

import { has, of } from "./store.js";

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
export function wholePatch(state) {
  const { connection, stale } = state;
  const rows = Object.keys(state.statuses).map((id) => rowOf(state, id));
  return { whole: true, rows, connection, stale };
}

/**
 * @param {PresenceState} previous
 * @param {PresenceState} state
 * @returns {Patch} with which the previous state becomes this one
 */
export function patchBetween(previous, state) {
  const { connection, stale } = state;
  const records = /** @type {const} */ (["statuses", "timestamps", "lastSeen"]);
  const changed = records.filter((name) => state[name] !== previous[name]);
  if (changed.length === 0) return { connection, stale };
  /** @type {(from: PresenceState, name: "statuses" | "timestamps" | "lastSeen", id: string) => unknown} */
  const at = (from, name, id) => of(/** @type {Record<string, unknown>} */ (from[name]), id);
  const rows = Object.keys(state.statuses)
    .filter((id) => changed.some((name) => at(state, name, id) !== at(previous, name, id)))
    .map((id) => rowOf(state, id));
  const gone = Object.keys(previous.statuses).filter((id) => !has(state.statuses, id));
  return { rows, gone, connection, stale };
}

/**
 * @param {PresenceState} state
 * @param {Patch} patch
 * @returns {Partial<PresenceState>} what is new, for `setState`
 */
export function applied(state, { whole = false, rows = [], gone = [], connection, stale }) {
  const next = {
    ...(connection === undefined ? {} : { connection }),
    ...(stale === undefined ? {} : { stale }),
  };
  if (!whole && rows.length === 0 && gone.length === 0) return next;
  const statuses = new Map(whole ? [] : Object.entries(state.statuses));
  const timestamps = new Map(whole ? [] : Object.entries(state.timestamps));
  const lastSeen = new Map(whole ? [] : Object.entries(state.lastSeen));
  for (const id of gone) {
    for (const map of [statuses, timestamps, lastSeen]) map.delete(id);
  }
  for (const [id, online, timestamp, seen] of rows) {
    statuses.set(id, online);
    if (timestamp !== null) timestamps.set(id, timestamp);
    if (seen === null) lastSeen.delete(id);
    else lastSeen.set(id, seen);
  }
  return {
    ...next,
    statuses: Object.fromEntries(statuses),
    timestamps: Object.fromEntries(timestamps),
    lastSeen: Object.fromEntries(lastSeen),
  };
}

/**
 * @param {PresenceState} state
 * @param {string} id
 * @returns {Row}
 */
function rowOf(state, id) {
  return [
    id,
    of(state.statuses, id) === true,
    of(state.timestamps, id) ?? null,
    of(state.lastSeen, id) ?? null,
  ];
}
