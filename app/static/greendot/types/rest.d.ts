/**
 * The REST calls. They give the first status map while the socket is still opening. They also
 * give the ticket for the socket's URL, since browsers cannot send a WebSocket with a header for
 * the token.
 */
export type Detail = import("./detail.js").Detail;
export type MyPresence = import("./my-presence.js").MyPresence;
export type MyPresenceChanges = import("./my-presence.js").MyPresenceChanges;
export type MaybeSecret = string | null | undefined;
export type Secret = string | (() => MaybeSecret | Promise<MaybeSecret>);
/** @typedef {import("./detail.js").Detail} Detail */
/** @typedef {import("./my-presence.js").MyPresence} MyPresence */
/** @typedef {import("./my-presence.js").MyPresenceChanges} MyPresenceChanges */
/** @typedef {string | null | undefined} MaybeSecret */
/** @typedef {string | (() => MaybeSecret | Promise<MaybeSecret>)} Secret a token or ticket, or a
 * function that gives one. It gives null, undefined or "" if the user is signed out */
/**
 * @param {unknown} error
 * @returns {number} the close code with the same meaning as this failed request
 */
export declare function closeCodeOf(error: unknown): number;
/**
 * @param {Secret} secret
 * @returns {Promise<string>} rejected with `PresenceSignedOut` if there is none, and with
 *   `PresenceSecretError` if the function's promise is rejected or takes too long. What the
 *   function itself throws is a bug in it, and is passed on unchanged
 */
export declare function resolveSecret(secret: Secret): Promise<string>;
/**
 * @param {object} options
 * @param {string} options.base the server's http(s) URL, without a slash at its end
 * @param {() => Promise<string>} [options.getToken] default: the browser sends the cookie
 * @param {typeof globalThis.fetch} options.fetch
 * @returns the calls of one attempt to connect
 */
export declare function createRest({ base, getToken, fetch }: {
    base: string;
    getToken?: () => Promise<string>;
    fetch: typeof globalThis.fetch;
}): {
    /**
     * @param {Secret | undefined} ticket default: one that is fetched with the token
     * @param {boolean} withDetail
     * @returns {Promise<string>} the URL for one socket
     */
    socketUrl(ticket: Secret | undefined, withDetail: boolean): Promise<string>;
    /**
     * @param {boolean} withDetail
     * @returns {Promise<{
     *   statuses: Record<string, boolean>, details: Record<string, Detail | null>,
     * }>} of friends and conversation partners
     */
    statuses(withDetail: boolean): Promise<{
        statuses: Record<string, boolean>;
        details: Record<string, Detail | null>;
    }>;
    /** @returns {Promise<MyPresence>} */
    myPresence: () => Promise<MyPresence>;
    /**
     * @param {MyPresenceChanges} changes
     * @returns {Promise<MyPresence>}
     */
    changeMyPresence: (changes: MyPresenceChanges) => Promise<MyPresence>;
};
