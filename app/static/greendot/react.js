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
/** @typedef {import("./store.js").ConnectionState} ConnectionState */
/** @typedef {import("./store.js").PresenceState} PresenceState */

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
 * @param {string} userId
 * @returns {{online: boolean, lastSeen: number | null, known: boolean}} `online`: false
 *   while the store is stale; `lastSeen`: milliseconds since the epoch; `known`: the store is not
 *   stale and has a status of this user
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
  return useMemo(() => ({ online, lastSeen, known }), [online, lastSeen, known]);
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

// Each has a contrast of at least 3:1, on white and on black.
const GREEN = "#1a9e52";
const GREY = "#7c8881";

/** @type {Record<string, import("react").CSSProperties>} */
const STYLES = {
  badge: {
    display: "inline-flex",
    alignItems: "center",
    gap: "0.4em",
    position: "relative", // or the hidden label could make the page longer
  },
  dot: {
    boxSizing: "border-box",
    width: "0.7em",
    height: "0.7em",
    flex: "none",
    borderWidth: "0.15em",
    borderRadius: "50%",
  },
  // The border fills the dot, since forced colours and printers drop backgrounds. Browsers round
  // widths down to whole pixels, so half a pixel is added.
  online: {
    borderStyle: "solid",
    borderColor: GREEN,
    borderWidth: "calc(0.35em + 0.5px)",
    backgroundColor: GREEN,
  },
  offline: { borderStyle: "solid", borderColor: GREY },
  unknown: { borderStyle: "dotted", borderColor: GREY },
  visuallyHidden: {
    position: "absolute",
    width: 1,
    height: 1,
    overflow: "hidden",
    clipPath: "inset(50%)",
    whiteSpace: "nowrap",
  },
};

const DEFAULT_LABELS = { online: "Online", offline: "Offline", unknown: "Unknown" };

/**
 * The dot: full and green if online, a grey ring if offline, a dotted ring if unknown. Its label
 * says the same in words to screen readers. With `words` everybody sees the label.
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
  const { online, known } = usePresence(userId);
  const presence = online ? "online" : known ? "offline" : "unknown";
  return createElement(
    "span",
    { className, "data-presence": presence, style: STYLES["badge"] },
    createElement("span", {
      "aria-hidden": true,
      style: { ...STYLES["dot"], ...STYLES[presence] },
    }),
    createElement(
      "span",
      words ? null : { style: STYLES["visuallyHidden"] },
      labels[presence] ?? DEFAULT_LABELS[presence],
    ),
  );
}
