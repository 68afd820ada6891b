"use client";

/**
 * React bindings, over useSyncExternalStore: a component is rendered again only when
 * what it shows has changed.
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
import { has, of } from "./store.js";

/** @typedef {import("./client.js").PresenceClient} PresenceClient */
/** @typedef {import("./client.js").PresenceClientOptions} PresenceClientOptions */
/** @typedef {import("./store.js").ConnectionState} ConnectionState */
/** @typedef {import("./store.js").PresenceState} PresenceState */

const Greendot = createContext(/** @type {PresenceClient | null} */ (null));

/**
 * Connects while it is mounted. Its props are the client's options and are read once:
 * give it a `key` (the user's id, say) to start anew.
 *
 * @param {PresenceClientOptions & {
 *   client?: PresenceClient, children?: import("react").ReactNode,
 * }} props `client`: one that you made, and connect and leave yourself
 */
export function GreendotProvider({
  client: given,
  children,
  onError = () => {}, // with one, connect() throws nothing that would take the page down
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
 * @returns {PresenceClient} for `leave()` at sign-out, `retryNow()`, and the store
 */
export function useGreendot() {
  const client = useContext(Greendot);
  if (client === null) throw new Error("there is no <GreendotProvider> around this");
  return client;
}

/**
 * @template T
 * @param {(state: PresenceState) => T} select gives the same value for the same state
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
 * @returns {{online: boolean, lastSeen: number | null, known: boolean}} `online` only
 *   while somebody vouches for it; `lastSeen` in milliseconds since the epoch; `known`:
 *   the server is heard and has told of this user
 */
export function usePresence(userId) {
  const { store } = useGreendot();
  const subscribe = useCallback(
    (/** @type {() => void} */ wake) => store.subscribeUser(userId, wake),
    [store, userId],
  );
  const online = useSyncExternalStore(
    subscribe,
    () => store.getState().isOnline(userId),
    () => false,
  );
  const lastSeen = useSyncExternalStore(
    subscribe,
    () => of(store.getState().lastSeen, userId) ?? null,
    () => null,
  );
  const known = useSyncExternalStore(
    subscribe,
    () => !store.getState().stale && has(store.getState().statuses, userId),
    () => false,
  );
  return useMemo(() => ({ online, lastSeen, known }), [online, lastSeen, known]);
}

/**
 * @returns {string[]} ids of all friends and conversation partners who are online
 */
export function useOnlineFriends() {
  // As one text, so that React sees an unchanged list as unchanged. Ids have no blanks.
  const ids = usePresenceState(({ statuses, isOnline }) =>
    Object.keys(statuses).filter(isOnline).sort().join(" "),
  );
  return useMemo(() => (ids === "" ? [] : ids.split(" ")), [ids]);
}

/**
 * @returns {ConnectionState} how this page's own connection is
 */
export function useConnection() {
  return usePresenceState(({ connection }) => connection);
}

// Each has a contrast of 3:1 and more, on white and on black.
const GREEN = "#1a9e52";
const GREY = "#7c8881";

/** @type {Record<string, import("react").CSSProperties>} */
const STYLES = {
  badge: {
    display: "inline-flex",
    alignItems: "center",
    gap: "0.4em",
    position: "relative", // else the unseen words lie somewhere in the page, and extend it
  },
  dot: {
    boxSizing: "border-box",
    width: "0.7em",
    height: "0.7em",
    flex: "none",
    borderWidth: "0.15em",
    borderRadius: "50%",
  },
  // Full by its border: forced colours and printers leave backgrounds out. Widths are
  // rounded down to whole pixels, hence the half of one.
  online: {
    borderStyle: "solid",
    borderColor: GREEN,
    borderWidth: "calc(0.35em + 0.5px)",
    backgroundColor: GREEN,
  },
  offline: { borderStyle: "solid", borderColor: GREY },
  unknown: { borderStyle: "dotted", borderColor: GREY },
  unseen: {
    position: "absolute",
    width: 1,
    height: 1,
    overflow: "hidden",
    clipPath: "inset(50%)",
    whiteSpace: "nowrap",
  },
};

const WORDS = { online: "Online", offline: "Offline", unknown: "Unknown" };

/**
 * The dot: full and green, or a grey ring; dotted while nobody can vouch for it. Says
 * the same in words to screen readers, and to everybody with `words`.
 *
 * @param {object} props
 * @param {string} props.userId
 * @param {boolean} [props.words] show the words beside the dot
 * @param {Partial<typeof WORDS>} [props.labels] the words in another language
 * @param {string} [props.className]
 */
export function OnlineBadge({
  userId,
  words = false,
  labels = WORDS,
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
      words ? null : { style: STYLES["unseen"] },
      labels[presence] ?? WORDS[presence],
    ),
  );
}
