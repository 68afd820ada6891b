/**
 * What may go wrong. A lost network, and an answer that may be another one soon, are worth
 * a later try. No try mends the rest: a missing feature, a bad URL, a bug in a callback.
 */
/** The server answered, and it was no. */
export declare class PresenceHttpError extends Error {
    status: number;
    /**
     * @param {string} url
     * @param {number} status
     */
    constructor(url: string, status: number);
}
/** No answer came, or the browser does not let this page read it. */
export declare class PresenceNetworkError extends Error {
    /**
     * @param {string} url
     * @param {unknown} cause
     */
    constructor(url: string, cause: unknown);
}
/** The application's own function gave no token, or no ticket. */
export declare class PresenceSecretError extends Error {
    /** @param {unknown} cause */
    constructor(cause: unknown);
}
/**
 * @param {unknown} error
 * @returns {boolean} whether a later try may succeed with nothing changed here
 */
export declare const mayPass: (error: unknown) => boolean;
export type Report = (error: unknown) => void;
/** @typedef {(error: unknown) => void} Report */
/**
 * @param {(error: Error) => void} [onError]
 * @returns {Report} tells the application each time, and the console once
 */
export declare function createReport(onError?: (error: Error) => void): Report;
/**
 * @template {unknown[]} Arguments
 * @param {((...given: Arguments) => unknown) | undefined} callback the application's
 * @param {Report} report
 * @returns {(...given: Arguments) => void} the same, and a bug in it is only reported
 */
export declare const guarded: <Arguments extends unknown[]>(callback: ((...given: Arguments) => unknown) | undefined, report: Report) => (...given: Arguments) => void;
