/**
 * The difference between two states of the store, as plain data for a BroadcastChannel. With it
 * the other tabs' stores follow the leader's. All functions are pure.
 */

import { keepEqual } from "./detail.js";
import { getOwn, hasOwn, valueIn } from "./store.js";

/** @typedef {import("./detail.js").Detail} Detail */
/** @typedef {import("./my-presence.js").MyPresence} MyPresence */
/** @typedef {import("./store.js").ConnectionState} ConnectionState */
/** @typedef {import("./store.js").PresenceState} PresenceState */
/**
 * @typedef {[
 *   id: string, online: boolean, timestamp: number | null, seen: number | null,
 *   detail?: Detail | null | undefined,
 * ]} Row
 */

/**
 * Tabs may run different versions of the client, so these names are a contract.
 *
 * @typedef {object} StateDiff
 * @property {boolean} [whole] the rows are the full state: users that are missing are removed
 * @property {Row[]} [rows] users with a new status
 * @property {string[]} [gone] users who are no longer relevant
 * @property {ConnectionState} [connection]
 * @property {boolean} [stale]
 * @property {MyPresence} [myPresence]
 */

const RECORDS = /** @type {const} */ (["statuses", "timestamps", "lastSeen", "details"]);

/**
 * @param {PresenceState} state
 * @returns {StateDiff} turns any other state into this one
 */
export function fullDiff(state) {
  const { connection, stale } = state;
  const rows = Object.keys(state.statuses).map((id) => rowOf(state, id));
  return { whole: true, rows, connection, stale, ...ofMine(state) };
}

/**
 * @param {PresenceState} previous
 * @param {PresenceState} state
 * @returns {StateDiff} turns the previous state into this one
 */
export function stateDiff(previous, state) {
  const { connection, stale } = state;
  const mine = state.myPresence === previous.myPresence ? {} : ofMine(state);
  const changed = RECORDS.filter((name) => state[name] !== previous[name]);
  if (changed.length === 0) return { connection, stale, ...mine };
  const rows = Object.keys(state.statuses)
    .filter((id) =>
      changed.some((name) => valueIn(state, name, id) !== valueIn(previous, name, id)),
    )
    .map((id) => rowOf(state, id));
  const gone = Object.keys(previous.statuses).filter((id) => !hasOwn(state.statuses, id));
  return { rows, gone, connection, stale, ...mine };
}

/**
 * @param {PresenceState} state
 * @returns {Pick<StateDiff, "myPresence">} empty if nothing is known: another tab may know it
 */
const ofMine = ({ myPresence }) => (myPresence === null ? {} : { myPresence });

/**
 * @param {PresenceState} state
 * @param {StateDiff} diff
 * @returns {Partial<PresenceState>} the changed fields, for `setState`
 */
export function applyDiff(state, diff) {
  const { whole = false, rows = [], gone = [], connection, stale, myPresence } = diff;
  const next = {
    ...(connection === undefined ? {} : { connection }),
    ...(stale === undefined ? {} : { stale }),
    ...(myPresence === undefined ? {} : { myPresence }),
  };
  if (!whole && rows.length === 0 && gone.length === 0) return next;
  const statuses = new Map(whole ? [] : Object.entries(state.statuses));
  const timestamps = new Map(whole ? [] : Object.entries(state.timestamps));
  const lastSeen = new Map(whole ? [] : Object.entries(state.lastSeen));
  const details = new Map(whole ? [] : Object.entries(state.details));
  for (const id of gone) {
    for (const map of [statuses, timestamps, lastSeen, details]) map.delete(id);
  }
  for (const [id, online, timestamp, seen, detail] of rows) {
    statuses.set(id, online);
    if (timestamp !== null) timestamps.set(id, timestamp);
    if (seen === null) lastSeen.delete(id);
    else lastSeen.set(id, seen);
    // Undefined means that the leader does not ask for details, or has an older client.
    const next = keepEqual(getOwn(state.details, id), detail);
    if (next === undefined) details.delete(id);
    else details.set(id, next);
  }
  return {
    ...next,
    statuses: Object.fromEntries(statuses),
    timestamps: Object.fromEntries(timestamps),
    lastSeen: Object.fromEntries(lastSeen),
    details: Object.fromEntries(details),
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
    getOwn(state.statuses, id) === true,
    getOwn(state.timestamps, id) ?? null,
    getOwn(state.lastSeen, id) ?? null,
    getOwn(state.details, id),
  ];
}
