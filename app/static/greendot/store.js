/**
 * Who is online, as far as this page may say so. It keeps Zustand's vanilla store
 * contract (getState, setState, subscribe, getInitialState), so Zustand's own
 * `useStore(store, selector)` works with it; nothing here needs Zustand.
 *
 * Per user the newest timestamp wins; what is not newer is dropped. A value without a
 * timestamp counts as older than every value with one.
 */

import { createReport } from "./errors.js";
import { ONLINE } from "./protocol.js";

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
export const has = (record, id) => Object.prototype.hasOwnProperty.call(record, id);

/**
 * The value of a user, if there is one: ids are the host's own strings, and
 * "constructor" is a fine user id that every plain object seems to have.
 *
 * @template T
 * @param {Record<string, T>} record
 * @param {string} id
 * @returns {T | undefined}
 */
export function of(record, id) {
  return has(record, id) ? record[id] : undefined;
}

/**
 * @param {import("./errors.js").Report} [report] is told what a listener throws, which
 *   keeps it from no other listener
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
   * @param {unknown} patch
   * @param {boolean} [replace]
   */
  function setState(patch, replace) {
    const next = typeof patch === "function" ? patch(state) : patch;
    if (Object.is(next, state)) return;
    const previous = state;
    const whole = replace ?? (typeof next !== "object" || next === null);
    state = whole ? next : { ...state, ...next };
    wakeUsers(previous);
    for (const listener of [...listeners]) wake(() => listener(state, previous));
  }

  /** @param {() => void} listener */
  function wake(listener) {
    try {
      listener();
    } catch (error) {
      report(error);
    }
  }

  /** @param {PresenceState} previous */
  function wakeUsers(previous) {
    const everyone = state.stale !== previous.stale;
    if (
      !everyone &&
      state.statuses === previous.statuses &&
      state.lastSeen === previous.lastSeen
    ) {
      return;
    }
    for (const [id, woken] of [...userListeners]) {
      const changed =
        everyone ||
        of(state.statuses, id) !== of(previous.statuses, id) ||
        of(state.lastSeen, id) !== of(previous.lastSeen, id);
      if (changed) for (const listener of [...woken]) wake(listener);
    }
  }

  /** @type {PresenceState["setStatus"]} */
  function setStatus(id, online, timestamp) {
    const { statuses, timestamps, lastSeen } = state;
    const known = of(timestamps, id);
    if (timestamp === undefined) {
      if (known !== undefined || of(statuses, id) === online) return;
      setState({ statuses: { ...statuses, [id]: online } });
      return;
    }
    if (known !== undefined && timestamp <= known) return;
    const seen = Math.max(of(lastSeen, id) ?? 0, timestamp);
    // 0 is the status of somebody who was never seen.
    const nextSeen = seen > 0 ? { ...lastSeen, [id]: seen } : lastSeen;
    setState({
      statuses: of(statuses, id) === online ? statuses : { ...statuses, [id]: online },
      timestamps: { ...timestamps, [id]: timestamp },
      lastSeen: nextSeen,
    });
  }

  /** @type {PresenceState["setMultipleStatuses"]} */
  function setMultipleStatuses(given) {
    const { statuses, timestamps } = state;
    const fresh = Object.entries(given).filter(
      ([id, online]) =>
        of(timestamps, id) === undefined && of(statuses, id) !== online,
    );
    if (fresh.length === 0) return;
    setState({ statuses: { ...statuses, ...Object.fromEntries(fresh) } });
  }

  /** @type {PresenceStore["applySnapshot"]} */
  function applySnapshot(snapshot, live = new Set(), keep = live) {
    /** @type {Array<[id: string, online: boolean, timestamp: number, seen: number]>} */
    const rows = [];
    for (const [id, entry] of Object.entries(snapshot)) {
      const timestamp = entry.timestamp ?? 0;
      const known = of(state.timestamps, id) ?? 0;
      // A status of an earlier connection gives way whatever its timestamp: the
      // server read this map later, and may have forgotten a long-gone user's. One of
      // the same timestamp is the same, and the server's last_seen the better one.
      if (live.has(id) && known > timestamp) {
        const seen = of(state.lastSeen, id) ?? 0;
        rows.push([id, of(state.statuses, id) === true, known, seen]);
      } else {
        rows.push([id, entry.status === ONLINE, timestamp, entry.last_seen ?? 0]);
      }
    }
    for (const id of keep) {
      const online = of(state.statuses, id);
      if (online === undefined || has(snapshot, id)) continue;
      const timestamp = of(state.timestamps, id) ?? 0;
      rows.push([id, online, timestamp, of(state.lastSeen, id) ?? 0]);
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
    isOnline: (id) => !state.stale && of(state.statuses, id) === true,
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
      const woken = userListeners.get(id) ?? new Set();
      userListeners.set(id, woken.add(listener));
      return () => {
        woken.delete(listener);
        if (woken.size === 0 && userListeners.get(id) === woken) userListeners.delete(id);
      };
    },
  };
}
