/**
 * The store: which users are online, as far as this page knows. It has the interface of
 * Zustand's vanilla store (getState, setState, subscribe, getInitialState). So Zustand's
 * `useStore(store, selector)` works with it, but nothing here needs Zustand.
 *
 * Per user the newest timestamp wins: an older or equal one is ignored. A value without a
 * timestamp counts as older than any value with one.
 */

import { keepEqual } from "./detail.js";
import { createReport } from "./errors.js";
import { ONLINE } from "./protocol.js";

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
export const hasOwn = (record, id) => Object.prototype.hasOwnProperty.call(record, id);

/**
 * A user's entry, if there is one. User ids are any strings, such as "constructor", which every
 * plain object inherits.
 *
 * @template T
 * @param {Record<string, T>} record
 * @param {string} id
 * @returns {T | undefined}
 */
export function getOwn(record, id) {
  return hasOwn(record, id) ? record[id] : undefined;
}

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
const OF_A_USER = /** @type {const} */ (["statuses", "details", "lastSeen"]);

/**
 * @param {PresenceState} state
 * @param {typeof OF_A_USER[number] | "timestamps"} name of a record
 * @param {string} id
 * @returns {unknown} the user's entry
 */
export const valueIn = (state, name, id) =>
  getOwn(/** @type {Record<string, unknown>} */ (state[name]), id);

/**
 * @template T
 * @param {Array<[id: string, value: T | undefined]>} entries
 * @returns {Record<string, T>} without the entries that are undefined
 */
function recordOf(entries) {
  const defined = /** @type {Array<[string, T]>} */ (entries.filter((one) => one[1] !== undefined));
  return Object.fromEntries(defined);
}

/**
 * A copy of the details with another one for this user, or the record itself if the user already
 * has this detail.
 *
 * @param {Record<string, Detail | null>} details
 * @param {string} id
 * @param {Detail | null | undefined} detail undefined: the user has no entry
 */
function withDetail(details, id, detail) {
  const known = getOwn(details, id);
  const next = keepEqual(known, detail);
  if (next === known) return details;
  return next === undefined ? without(details, id) : { ...details, [id]: next };
}

/**
 * @template T
 * @param {Record<string, T>} record
 * @param {string} id
 * @returns {Record<string, T>} the record without this user
 */
function without(record, id) {
  if (!hasOwn(record, id)) return record;
  return Object.fromEntries(Object.entries(record).filter(([other]) => other !== id));
}

/**
 * @param {import("./errors.js").Report} [report] is called with what a listener throws. The
 *   other listeners are called all the same
 * @returns {PresenceStore}
 */
export function createPresenceStore(report = createReport()) {
  /** @type {Set<PresenceListener>} */
  const listeners = new Set();
  /** @type {Map<string, Set<() => void>>} */
  const userListeners = new Map();
  /** @type {PresenceState} */
  let state;

  const getState = () => state;

  /**
   * @param {unknown} partial
   * @param {boolean} [replace]
   */
  function setState(partial, replace) {
    const next = typeof partial === "function" ? partial(state) : partial;
    if (Object.is(next, state)) return;
    const previous = state;
    const replaces = replace ?? (typeof next !== "object" || next === null);
    state = replaces ? next : { ...state, ...next };
    notifyUserListeners(previous);
    for (const listener of [...listeners]) notify(() => listener(state, previous));
  }

  /** @param {() => void} listener */
  function notify(listener) {
    try {
      listener();
    } catch (error) {
      report(error);
    }
  }

  /** @param {PresenceState} previous */
  function notifyUserListeners(previous) {
    const all = state.stale !== previous.stale;
    const records = OF_A_USER.filter((name) => state[name] !== previous[name]);
    if (!all && records.length === 0) return;
    for (const [id, ofUser] of [...userListeners]) {
      const changed =
        all || records.some((name) => valueIn(state, name, id) !== valueIn(previous, name, id));
      if (changed) for (const listener of [...ofUser]) notify(listener);
    }
  }

  /**
   * @param {string} id
   * @returns {number | undefined} the newest timestamp of this user. Status and detail have
   *   one sequence
   */
  function newestOf(id) {
    return getOwn(state.detailTimestamps, id) ?? getOwn(state.timestamps, id);
  }

  /** @type {PresenceState["setStatus"]} */
  function setStatus(id, online, timestamp, detail) {
    const { statuses, timestamps, lastSeen } = state;
    const known = newestOf(id);
    const details = withDetail(state.details, id, detail);
    if (timestamp === undefined) {
      if (known !== undefined) return;
      if (getOwn(statuses, id) === online && details === state.details) return;
      setState({ statuses: { ...statuses, [id]: online }, details });
      return;
    }
    if (known !== undefined && timestamp <= known) return;
    const seen = Math.max(getOwn(lastSeen, id) ?? 0, timestamp);
    // A user who was never seen has the timestamp 0.
    const nextSeen = seen > 0 ? { ...lastSeen, [id]: seen } : lastSeen;
    setState({
      statuses: getOwn(statuses, id) === online ? statuses : { ...statuses, [id]: online },
      details,
      timestamps: { ...timestamps, [id]: timestamp },
      detailTimestamps: without(state.detailTimestamps, id),
      lastSeen: nextSeen,
    });
  }

  /** @type {PresenceState["setDetail"]} */
  function setDetail(id, detail, timestamp) {
    const { statuses, details, detailTimestamps } = state;
    if (getOwn(statuses, id) !== true || timestamp <= (newestOf(id) ?? -1)) return;
    setState({
      details: withDetail(details, id, detail),
      detailTimestamps: { ...detailTimestamps, [id]: timestamp },
    });
  }

  /** @type {PresenceState["setMultipleStatuses"]} */
  function setMultipleStatuses(given, givenDetails = {}) {
    const { statuses, timestamps } = state;
    const isOlder = (/** @type {string} */ id) => getOwn(timestamps, id) === undefined;
    const changed = Object.entries(given).filter(
      ([id, online]) => isOlder(id) && getOwn(statuses, id) !== online,
    );
    const details = Object.entries(givenDetails)
      .filter(([id]) => isOlder(id))
      .map(([id, detail]) => [id, keepEqual(getOwn(state.details, id), detail)])
      .filter(([id, detail]) => detail !== getOwn(state.details, String(id)));
    if (changed.length === 0 && details.length === 0) return;
    setState({
      statuses: { ...statuses, ...Object.fromEntries(changed) },
      details: { ...state.details, ...Object.fromEntries(details) },
    });
  }

  /** @type {PresenceStore["applySnapshot"]} */
  function applySnapshot(snapshot, updatedIds = new Set(), keepIds = updatedIds) {
    /** @type {Map<string, Row>} */
    const rows = new Map();
    /** @param {string} id */
    function keep(id) {
      const detailTimestamp = getOwn(state.detailTimestamps, id);
      rows.set(id, {
        online: getOwn(state.statuses, id) === true,
        timestamp: getOwn(state.timestamps, id) ?? 0,
        seen: getOwn(state.lastSeen, id) ?? 0,
        detail: getOwn(state.details, id),
        ...(detailTimestamp === undefined ? {} : { detailTimestamp }),
      });
    }
    for (const [id, entry] of Object.entries(snapshot)) {
      const timestamp = entry.timestamp ?? 0;
      // A status from an earlier connection is replaced whatever its timestamp is. The server
      // read this snapshot later, and forgets the timestamps of users who are long offline.
      // With equal timestamps the status is the same, and the server's last_seen is more exact.
      if (updatedIds.has(id) && (getOwn(state.timestamps, id) ?? 0) > timestamp) keep(id);
      else {
        rows.set(id, {
          online: entry.status === ONLINE,
          timestamp,
          seen: entry.last_seen ?? 0,
          detail: keepEqual(getOwn(state.details, id), entry.detail),
        });
      }
    }
    for (const id of keepIds) {
      if (hasOwn(state.statuses, id) && !hasOwn(snapshot, id)) keep(id);
    }
    const all = [...rows];
    setState({
      statuses: Object.fromEntries(all.map(([id, { online }]) => [id, online])),
      timestamps: Object.fromEntries(all.map(([id, { timestamp }]) => [id, timestamp])),
      details: recordOf(all.map(([id, { detail }]) => [id, detail])),
      detailTimestamps: recordOf(all.map(([id, row]) => [id, row.detailTimestamp])),
      lastSeen: recordOf(all.map(([id, { seen }]) => [id, seen > 0 ? seen : undefined])),
    });
  }

  /** @type {PresenceState} */
  const initial = {
    statuses: {},
    details: {},
    lastSeen: {},
    myPresence: null,
    timestamps: {},
    detailTimestamps: {},
    connection: "offline",
    stale: true,
    setStatus,
    setMultipleStatuses,
    setDetail,
    isOnline: (id) => !state.stale && getOwn(state.statuses, id) === true,
    detailOf: (id) => (state.isOnline(id) ? (getOwn(state.details, id) ?? null) : null),
  };
  state = initial;

  return {
    getState,
    getInitialState: () => initial,
    setState,
    applySnapshot,
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    subscribeUser(id, listener) {
      const ofUser = userListeners.get(id) ?? new Set();
      userListeners.set(id, ofUser.add(listener));
      return () => {
        ofUser.delete(listener);
        if (ofUser.size === 0 && userListeners.get(id) === ofUser) userListeners.delete(id);
      };
    },
  };
}
