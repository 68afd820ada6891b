/**
 * How long to wait before the next try: a pure function, so that the policy can be
 * read and tested without waiting.
 */
export declare const MOST = 30000;
/**
 * Full jitter below a bound that grows with the outage: a tenth of its length, so
 * a second while it is young and at most half a minute when it is old. Waits that are
 * proportional to the time already lost grow exponentially, as a doubling would, but
 * a short restart is over within a second of the server's return.
 *
 * @param {number} outage milliseconds since the socket was lost
 * @param {number} least milliseconds that are waited in any case, and jittered once more
 * @param {() => number} random uniform in [0, 1)
 * @param {number} [most] greatest bound of the jitter, in milliseconds
 * @returns {number} milliseconds to wait
 */
export declare function retryDelay(outage: number, least: number, random: () => number, most?: number): number;
/**
 * The least wait where each try may well be refused like the last: it doubles.
 *
 * @param {number} refusals in a row, from 1 on
 * @returns {number} milliseconds
 */
export declare const leastAfterRefusals: (refusals: number) => number;
