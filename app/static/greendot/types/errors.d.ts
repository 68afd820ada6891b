/**
 * The errors of the client. Three of the classes here may be temporary: the client tries again
 * after them. Every other error is permanent: a user who is signed out, a missing feature, a bad
 * URL, a bug in a callback.
 */
/** The server answered a request with an error, or not in Greendot's format. */
export declare class PresenceHttpError extends Error {
    status: number;
    /** For programs, such as `bad_request`. Empty if the answer does not come from Greendot. */
    code: string;
    /**
     * @param {string} url
     * @param {number} status
     * @param {{code?: string, message?: string} | null} [error] what the server says about it
     */
    constructor(url: string, status: number, error?: {
        code?: string;
        message?: string;
    } | null);
}
/** No answer came, or the browser does not let this page read it. */
export declare class PresenceNetworkError extends Error {
    /**
     * @param {string} url
     * @param {unknown} cause
     */
    constructor(url: string, cause: unknown);
}
/** The application's token (or ticket) function failed. */
export declare class PresenceSecretError extends Error {
    /** @param {unknown} cause */
    constructor(cause: unknown);
}
/** The application's token (or ticket) function gave none, because nobody is signed in. */
export declare class PresenceSignedOut extends Error {
    constructor();
}
/**
 * @param {unknown} error
 * @returns {boolean} whether a later attempt may succeed although nothing changes here
 */
export declare const isRetryable: (error: unknown) => boolean;
export type Report = (error: unknown) => void;
/** @typedef {(error: unknown) => void} Report */
/**
 * @param {(error: Error) => void} [onError]
 * @returns {Report} calls `onError` each time, and writes each text to the console once
 */
export declare function createReport(onError?: (error: Error) => void): Report;
/**
 * Wrap a callback of the application, so that a bug in it cannot stop the client.
 *
 * @template {unknown[]} Arguments
 * @param {((...given: Arguments) => unknown) | undefined} callback
 * @param {Report} report is called with what the callback throws
 * @returns {(...given: Arguments) => void}
 */
export declare const catchErrors: <Arguments extends unknown[]>(callback: ((...given: Arguments) => unknown) | undefined, report: Report) => (...given: Arguments) => void;
