/**
 * The store: which users are online, as far as this page knows. It has the interface of
 * Zustand's vanilla store (getState, setState, subscribe, getInitialState). So Zustand's
 * `useStore(store, selector)` works with it, but nothing here needs Zustand.
 *
 * Per user the newest timestamp wins: an older or equal one is ignored. A value without a
 * timestamp counts as older than any value with one.
 */

import { createReport } from "./errors.js";
import { ONLINE } from "./protocol.js";

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
    if (
      !all &&
      state.statuses === previous.statuses &&
      state.lastSeen === previous.lastSeen
    ) {
      return;
    }
    for (const [id, ofUser] of [...userListeners]) {
      const changed =
        all ||
        getOwn(state.statuses, id) !== getOwn(previous.statuses, id) ||
        getOwn(state.lastSeen, id) !== getOwn(previous.lastSeen, id);
      if (changed) for (const listener of [...ofUser]) notify(listener);
    }
  }

  /** @type {PresenceState["setStatus"]} */
  function setStatus(id, online, timestamp) {
    const { statuses, timestamps, lastSeen } = state;
    const known = getOwn(timestamps, id);
    if (timestamp === undefined) {
      if (known !== undefined || getOwn(statuses, id) === online) return;
      setState({ statuses: { ...statuses, [id]: online } });
      return;
    }
    if (known !== undefined && timestamp <= known) return;
    const seen = Math.max(getOwn(lastSeen, id) ?? 0, timestamp);
    // A user who was never seen has the timestamp 0.
    const nextSeen = seen > 0 ? { ...lastSeen, [id]: seen } : lastSeen;
    setState({
      statuses: getOwn(statuses, id) === online ? statuses : { ...statuses, [id]: online },
      timestamps: { ...timestamps, [id]: timestamp },
      lastSeen: nextSeen,
    });
  }

  /** @type {PresenceState["setMultipleStatuses"]} */
  function setMultipleStatuses(given) {
    const { statuses, timestamps } = state;
    const changed = Object.entries(given).filter(
      ([id, online]) =>
        getOwn(timestamps, id) === undefined && getOwn(statuses, id) !== online,
    );
    if (changed.length === 0) return;
    setState({ statuses: { ...statuses, ...Object.fromEntries(changed) } });
  }

  /** @type {PresenceStore["applySnapshot"]} */
  function applySnapshot(snapshot, updatedIds = new Set(), keepIds = updatedIds) {
    /** @type {Array<[id: string, online: boolean, timestamp: number, seen: number]>} */
    const rows = [];
    for (const [id, entry] of Object.entries(snapshot)) {
      const timestamp = entry.timestamp ?? 0;
      const known = getOwn(state.timestamps, id) ?? 0;
      // A status from an earlier connection is replaced whatever its timestamp is. The server
      // read this snapshot later, and forgets the timestamps of users who are long offline.
      // With equal timestamps the status is the same, and the server's last_seen is more exact.
      if (updatedIds.has(id) && known > timestamp) {
        const seen = getOwn(state.lastSeen, id) ?? 0;
        rows.push([id, getOwn(state.statuses, id) === true, known, seen]);
      } else {
        rows.push([id, entry.status === ONLINE, timestamp, entry.last_seen ?? 0]);
      }
    }
    for (const id of keepIds) {
      const online = getOwn(state.statuses, id);
      if (online === undefined || hasOwn(snapshot, id)) continue;
      const timestamp = getOwn(state.timestamps, id) ?? 0;
      rows.push([id, online, timestamp, getOwn(state.lastSeen, id) ?? 0]);
    }
    setState({
      statuses: Object.fromEntries(rows.map(([id, online]) => [id, online])),
      timestamps: Object.fromEntries(rows.map(([id, , timestamp]) => [id, timestamp])),
      lastSeen: Object.fromEntries(
        rows.filter((row) => row[3] > 0).map(([id, , , seen]) => [id, seen]),
      ),
    });
  }

  /** @type {PresenceState} */
  const initial = {
    statuses: {},
    lastSeen: {},
    timestamps: {},
    connection: "offline",
    stale: true,
    setStatus,
    setMultipleStatuses,
    isOnline: (id) => !state.stale && getOwn(state.statuses, id) === true,
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
