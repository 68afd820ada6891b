/** The user's token. Several parts of a page need one at the same time, and share it. */
export type Secret = import("./rest.js").Secret;
export type TokenSource = {
    /**
     * a fresh token. Rejected as `resolveSecret` is
     */
    get: () => Promise<string>;
    /**
     * as `get`, and keep the token for a short time: until
     * the next `take`
     */
    getEarly: () => Promise<string>;
    /**
     * as `get`, for an attempt to connect: the one after it
     * needs another token
     */
    take: () => Promise<string>;
};
/**
 * @param {Secret} secret
 * @returns {TokenSource} calls a function once for all that wait for it at the same time
 */
export declare function createTokenSource(secret: Secret): TokenSource;
