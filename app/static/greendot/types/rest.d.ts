/**
 * The REST side: the first status map while the socket is still being opened, and the
 * ticket that stands for a token in the socket's URL (browsers cannot send headers
 * with a WebSocket).
 */
export type Secret = string | (() => string | Promise<string>);
/** @typedef {string | (() => string | Promise<string>)} Secret a value, or its source */
/**
 * @param {unknown} error
 * @returns {number} the close code that says the same as this failed request
 */
export declare function closeCodeOf(error: unknown): number;
/**
 * @param {Secret} secret
 * @returns {Promise<string>} rejected if its source fails, or takes longer than a request
 *   may. What the source throws at once is a bug of it, and passed on as it is
 */
export declare function reveal(secret: Secret): Promise<string>;
/**
 * @param {object} options
 * @param {string} options.base the server's http(s) URL, without a slash at its end
 * @param {Secret} [options.token] without it, the browser's cookie speaks
 * @param {typeof globalThis.fetch} options.fetch
 * @returns the calls of one attempt to connect
 */
export declare function createRest({ base, token, fetch }: {
    base: string;
    token?: Secret;
    fetch: typeof globalThis.fetch;
}): {
    /** @returns {Promise<string>} a ticket for one socket */
    ticket(): Promise<string>;
    /** @returns {Promise<Record<string, boolean>>} friends and conversation partners */
    statuses(): Promise<Record<string, boolean>>;
};
