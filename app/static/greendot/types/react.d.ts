export type PresenceClient = import("./client.js").PresenceClient;
export type PresenceClientOptions = import("./client.js").PresenceClientOptions;
export type ConnectionState = import("./store.js").ConnectionState;
export type PresenceState = import("./store.js").PresenceState;
/**
 * Connects while it is mounted. Its props are the client's options and are read once:
 * give it a `key` (the user's id, say) to start anew.
 *
 * @param {PresenceClientOptions & {
 *   client?: PresenceClient, children?: import("react").ReactNode,
 * }} props `client`: one that you made, and connect and leave yourself
 */
export declare function GreendotProvider({ client: given, children, onError, // with one, connect() throws nothing that would take the page down
...options }: PresenceClientOptions & {
    client?: PresenceClient;
    children?: import("react").ReactNode;
}): import("react").FunctionComponentElement<import("react").ProviderProps<import("./client.js").PresenceClient | null>>;
/**
 * @returns {PresenceClient} for `leave()` at sign-out, `retryNow()`, and the store
 */
export declare function useGreendot(): PresenceClient;
/**
 * @param {string} userId
 * @returns {{online: boolean, lastSeen: number | null, known: boolean}} `online` only
 *   while somebody vouches for it; `lastSeen` in milliseconds since the epoch; `known`:
 *   the server is heard and has told of this user
 */
export declare function usePresence(userId: string): {
    online: boolean;
    lastSeen: number | null;
    known: boolean;
};
/**
 * @returns {string[]} ids of all friends and conversation partners who are online
 */
export declare function useOnlineFriends(): string[];
/**
 * @returns {ConnectionState} how this page's own connection is
 */
export declare function useConnection(): ConnectionState;
declare const WORDS: {
    online: string;
    offline: string;
    unknown: string;
};
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
export declare function OnlineBadge({ userId, words, labels, className, }: {
    userId: string;
    words?: boolean;
    labels?: Partial<typeof WORDS>;
    className?: string;
}): import("react").DetailedReactHTMLElement<{
    className: string;
    "data-presence": string;
    style: import("react").CSSProperties | undefined;
}, HTMLElement>;
export {};
