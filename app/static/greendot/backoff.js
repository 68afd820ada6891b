/**
 * How long to wait before the next try: a pure function, so that the policy can be
 * read and tested without waiting.
 */

const SHARE_OF_OUTAGE = 0.1;
const LEAST_BOUND = 1_000;
export const MOST = 30_000;

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
export function retryDelay(outage, least, random, most = MOST) {
  const bound = Math.min(most, Math.max(LEAST_BOUND, least, outage * SHARE_OF_OUTAGE));
  return least + random() * bound;
}

/**
 * The least wait where each try may well be refused like the last: it doubles.
 *
 * @param {number} refusals in a row, from 1 on
 * @returns {number} milliseconds
 */
export const leastAfterRefusals = (refusals) => Math.min(MOST, 500 * 2 ** refusals);
