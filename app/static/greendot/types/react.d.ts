export type PresenceClient = import("./client.js").PresenceClient;
export type PresenceClientOptions = import("./client.js").PresenceClientOptions;
export type Availability = import("./detail.js").Availability;
export type MyPresence = import("./my-presence.js").MyPresence;
export type MyPresenceChanges = import("./my-presence.js").MyPresenceChanges;
export type ConnectionState = import("./store.js").ConnectionState;
export type PresenceState = import("./store.js").PresenceState;
/**
 * Connects while it is mounted. Its props are the options of the client, and are read once. To
 * start again with other options, change its `key` (to the user's id, for example).
 *
 * @param {PresenceClientOptions & {
 *   client?: PresenceClient, children?: import("react").ReactNode,
 * }} props `client`: your own client, which you connect and leave yourself
 */
export declare function GreendotProvider({ client: given, children, onError, // with an onError, connect() does not throw, which would unmount the page
...options }: PresenceClientOptions & {
    client?: PresenceClient;
    children?: import("react").ReactNode;
}): import("react").FunctionComponentElement<import("react").ProviderProps<import("./client.js").PresenceClient | null>>;
/**
 * @returns {PresenceClient} for its store, `retryNow()`, and `leave()` at sign-out
 */
export declare function useGreendot(): PresenceClient;
export type Presence = {
    /**
     * false while the store is stale
     */
    online: boolean;
    /**
     * milliseconds since the epoch
     */
    lastSeen: number | null;
    /**
     * the store is not stale and has a status of this user
     */
    known: boolean;
    /**
     * null if the user is not online
     */
    availability: Availability | null;
    text: string | null;
    emoji: string | null;
};
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
export declare function usePresence(userId: string): Presence;
/**
 * @returns {string[]} the ids of all friends and conversation partners who are online
 */
export declare function useOnlineFriends(): string[];
/**
 * @returns {ConnectionState} the state of this page's connection
 */
export declare function useConnection(): ConnectionState;
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
export declare function useMyPresence(): {
    settings: MyPresence | null;
    error: Error | null;
    change: (changes: MyPresenceChanges) => Promise<MyPresence>;
};
export type Shown = "online" | "away" | "dnd" | "offline" | "unknown";
export type Shape = import("react").SVGAttributes<SVGElement>;
declare const DEFAULT_LABELS: {
    online: string;
    away: string;
    dnd: string;
    offline: string;
    unknown: string;
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
export declare function OnlineBadge({ userId, words, labels, className, }: {
    userId: string;
    words?: boolean;
    labels?: Partial<typeof DEFAULT_LABELS>;
    className?: string;
}): import("react").DetailedReactHTMLElement<{
    className: string;
    "data-presence": string;
    "data-availability": import("./detail.js").Availability | undefined;
    style: import("react").CSSProperties | undefined;
}, HTMLElement>;
export {};
