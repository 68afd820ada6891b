export type PresenceClient = import("./client.js").PresenceClient;
export type PresenceClientOptions = import("./client.js").PresenceClientOptions;
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
/**
 * @param {string} userId
 * @returns {{online: boolean, lastSeen: number | null, known: boolean}} `online`: false
 *   while the store is stale; `lastSeen`: milliseconds since the epoch; `known`: the store is not
 *   stale and has a status of this user
 */
export declare function usePresence(userId: string): {
    online: boolean;
    lastSeen: number | null;
    known: boolean;
};
/**
 * @returns {string[]} the ids of all friends and conversation partners who are online
 */
export declare function useOnlineFriends(): string[];
/**
 * @returns {ConnectionState} the state of this page's connection
 */
export declare function useConnection(): ConnectionState;
declare const DEFAULT_LABELS: {
    online: string;
    offline: string;
    unknown: string;
};
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
export declare function OnlineBadge({ userId, words, labels, className, }: {
    userId: string;
    words?: boolean;
    labels?: Partial<typeof DEFAULT_LABELS>;
    className?: string;
}): import("react").DetailedReactHTMLElement<{
    className: string;
    "data-presence": string;
    style: import("react").CSSProperties | undefined;
}, HTMLElement>;
export {};
