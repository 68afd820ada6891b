"use client";

/**
 * React bindings, built on useSyncExternalStore: a component renders again only when what it
 * shows has changed.
 */

import {
  createContext,
  createElement,
  useCallback,
  useContext,
  useEffect,
  useMemo,
  useState,
  useSyncExternalStore,
} from "react";
import { createPresenceClient } from "./client.js";
import { getOwn, hasOwn } from "./store.js";

/** @typedef {import("./client.js").PresenceClient} PresenceClient */
/** @typedef {import("./client.js").PresenceClientOptions} PresenceClientOptions */
/** @typedef {import("./detail.js").Availability} Availability */
/** @typedef {import("./my-presence.js").MyPresence} MyPresence */
/** @typedef {import("./my-presence.js").MyPresenceChanges} MyPresenceChanges */
/** @typedef {import("./store.js").ConnectionState} ConnectionState */
/** @typedef {import("./store.js").PresenceState} PresenceState */

/** What is shown of a user who is online, if the client or the server has no details. */
const NO_DETAIL = { availability: /** @type {const} */ ("active"), text: null, emoji: null };

const Greendot = createContext(/** @type {PresenceClient | null} */ (null));

/**
 * Connects while it is mounted. Its props are the options of the client, and are read once. To
 * start again with other options, change its `key` (to the user's id, for example).
 *
 * @param {PresenceClientOptions & {
 *   client?: PresenceClient, children?: import("react").ReactNode,
 * }} props `client`: your own client, which you connect and leave yourself
 */
export function GreendotProvider({
  client: given,
  children,
  onError = () => {}, // with an onError, connect() does not throw, which would unmount the page
  ...options
}) {
  const [client] = useState(
    () => given ?? createPresenceClient({ onError, ...options, autoConnect: false }),
  );
  useEffect(() => {
    if (given !== undefined) return undefined;
    client.connect();
    return () => client.close();
  }, [client, given]);
  return createElement(Greendot.Provider, { value: client }, children);
}

/**
 * @returns {PresenceClient} for its store, `retryNow()`, and `leave()` at sign-out
 */
export function useGreendot() {
  const client = useContext(Greendot);
  if (client === null) throw new Error("this hook needs a <GreendotProvider> around the component");
  return client;
}

/**
 * @template T
 * @param {(state: PresenceState) => T} select must return the same value for the same state
 * @returns {T}
 */
function usePresenceState(select) {
  const { store } = useGreendot();
  return useSyncExternalStore(
    store.subscribe,
    () => select(store.getState()),
    () => select(store.getInitialState()),
  );
}

/**
 * @typedef {object} Presence
 * @property {boolean} online false while the store is stale
 * @property {number | null} lastSeen milliseconds since the epoch
 * @property {boolean} known the store is not stale and has a status of this user
 * @property {Availability | null} availability null if the user is not online
 * @property {string | null} text
 * @property {string | null} emoji
 */

/**
 * @param {string} userId
 * @returns {Presence}
 */
export function usePresence(userId) {
  const { store } = useGreendot();
  const subscribe = useCallback(
    (/** @type {() => void} */ listener) => store.subscribeUser(userId, listener),
    [store, userId],
  );
  const online = useSyncExternalStore(
    subscribe,
    () => store.getState().isOnline(userId),
    () => false,
  );
  const lastSeen = useSyncExternalStore(
    subscribe,
    () => getOwn(store.getState().lastSeen, userId) ?? null,
    () => null,
  );
  const known = useSyncExternalStore(
    subscribe,
    () => !store.getState().stale && hasOwn(store.getState().statuses, userId),
    () => false,
  );
  const detail = useSyncExternalStore(
    subscribe,
    () => store.getState().detailOf(userId),
    () => null,
  );
  return useMemo(() => {
    const { availability, text, emoji } = detail ?? NO_DETAIL;
    return { online, lastSeen, known, availability: online ? availability : null, text, emoji };
  }, [online, lastSeen, known, detail]);
}

/**
 * @returns {string[]} the ids of all friends and conversation partners who are online
 */
export function useOnlineFriends() {
  // As one string, so that React sees that an equal list has not changed. Ids have no spaces.
  const ids = usePresenceState(({ statuses, isOnline }) =>
    Object.keys(statuses).filter(isOnline).sort().join(" "),
  );
  return useMemo(() => (ids === "" ? [] : ids.split(" ")), [ids]);
}

/**
 * @returns {ConnectionState} the state of this page's connection
 */
export function useConnection() {
  return usePresenceState(({ connection }) => connection);
}

/**
 * The signed-in user's own settings. They are read when the first component uses them and the
 * client connects. Then they stay current on all devices.
 *
 * @returns {{
 *   settings: MyPresence | null,
 *   error: Error | null,
 *   change: (changes: MyPresenceChanges) => Promise<MyPresence>,
 * }} `settings`: null until they are read; `error`: why they could not be read; `change`: resolves
 *   to the new settings. If the server refuses a change, the promise is rejected, and `settings`
 *   stay as they are
 */
export function useMyPresence() {
  const client = useGreendot();
  const settings = usePresenceState(({ myPresence }) => myPresence);
  const connection = useConnection();
  const isMissing = settings === null;
  const [error, setError] = useState(/** @type {Error | null} */ (null));
  useEffect(() => {
    if (!isMissing || connection === "offline") return undefined; // or the user has signed out
    let isCurrent = true;
    const set = (/** @type {Error | null} */ next) => isCurrent && setError(next);
    client.loadMyPresence().then(() => set(null), set);
    return () => {
      isCurrent = false;
    };
  }, [client, isMissing, connection]); // when the connection is back, a failed request is repeated
  const change = client.changeMyPresence;
  return useMemo(
    () => ({ settings, error: isMissing ? error : null, change }),
    [settings, isMissing, error, change],
  );
}

// Each colour has a contrast of at least 3:1, on white and on black. Each shape is another one, so
// nobody needs the colours. The shapes are SVG in the colour of the text, because forced colours
// and printers drop backgrounds. The colour belongs to the element around the SVG, since forced
// colours leave an SVG's own colour alone.
const GREY = "#7c8881";
const RING = { cx: 5, cy: 5, r: 4, fill: "none", stroke: "currentColor" };
const FILLED = { fill: "currentColor", fillRule: /** @type {const} */ ("evenodd") };
const DISC = "M0 5a5 5 0 1 0 10 0a5 5 0 1 0-10 0z";
const CRESCENT = "M4.3.05A5 5 0 1 0 9.95 5.7A4 4 0 0 1 4.3.05z";
const BAR = "M2 4h6v2h-6z";

/** @typedef {"online" | "away" | "dnd" | "offline" | "unknown"} Shown */

/** @typedef {import("react").SVGAttributes<SVGElement>} Shape */
/** @type {Record<Shown, {color: string, tag: string, shape: Shape}>} */
const DOTS = {
  online: { color: "#1a9e52", tag: "path", shape: { ...FILLED, d: DISC } },
  away: { color: "#b7791f", tag: "path", shape: { ...FILLED, d: CRESCENT } },
  dnd: { color: "#d93a3a", tag: "path", shape: { ...FILLED, d: DISC + BAR } },
  offline: { color: GREY, tag: "circle", shape: { ...RING, strokeWidth: 2 } },
  unknown: {
    color: GREY,
    tag: "circle",
    shape: { ...RING, strokeWidth: 2, strokeDasharray: "1.6 1.54" },
  },
};

/** @type {Record<string, import("react").CSSProperties>} */
const STYLES = {
  badge: {
    display: "inline-flex",
    alignItems: "center",
    gap: "0.4em",
    position: "relative", // or the hidden label could make the page longer
  },
  dot: { width: "0.7em", height: "0.7em", flex: "none" },
  svg: { display: "block", width: "100%", height: "100%" },
  visuallyHidden: {
    position: "absolute",
    width: 1,
    height: 1,
    overflow: "hidden",
    clipPath: "inset(50%)",
    whiteSpace: "nowrap",
  },
};

const DEFAULT_LABELS = {
  online: "Online",
  away: "Away",
  dnd: "Do not disturb",
  offline: "Offline",
  unknown: "Unknown",
};

/**
 * The dot. Its label says the same in words to screen readers. With `words` everybody sees the
 * label.
 *
 * - active: a green disc
 * - away: a crescent
 * - do not disturb: a red disc with a bar
 * - offline: a grey ring
 * - unknown: a dotted ring
 *
 * For style sheets the badge has `data-presence` (`online`, `offline` or `unknown`). While the user
 * is online, it also has `data-availability` (`active`, `away` or `dnd`).
 *
 * @param {object} props
 * @param {string} props.userId
 * @param {boolean} [props.words] show the label beside the dot
 * @param {Partial<typeof DEFAULT_LABELS>} [props.labels] the labels in another language
 * @param {string} [props.className]
 */
export function OnlineBadge({
  userId,
  words = false,
  labels = DEFAULT_LABELS,
  className = "greendot-badge",
}) {
  const { online, known, availability } = usePresence(userId);
  const presence = online ? "online" : known ? "offline" : "unknown";
  /** @type {Shown} */
  const shown = availability === "away" || availability === "dnd" ? availability : presence;
  const { color, tag, shape } = DOTS[shown];
  return createElement(
    "span",
    {
      className,
      "data-presence": presence,
      "data-availability": availability ?? undefined,
      style: STYLES["badge"],
    },
    createElement(
      "span",
      { "aria-hidden": true, style: { ...STYLES["dot"], color } },
      createElement(
        "svg",
        { viewBox: "0 0 10 10", style: STYLES["svg"] },
        createElement(tag, shape),
      ),
    ),
    createElement(
      "span",
      words ? null : { style: STYLES["visuallyHidden"] },
      labels[shown] ?? DEFAULT_LABELS[shown],
    ),
  );
}
