/**
 * How long to wait before the next attempt. These are pure functions, so that the policy can
 * be read and tested without waiting. What each close code asks for is in protocol.js.
 */

const OUTAGE_FRACTION = 0.1;
const MIN_BOUND = 1_000;
const MAX_BOUND = 30_000;
const MAX_SECRET_DELAY = 4_000;

/**
 * Full jitter below a bound. The bound is a tenth of the outage so far, at least one second
 * and at most half a minute. Such waits grow exponentially, as doubled ones do. After a short
 * restart, however, every client is back within a second of the server's return.
 *
 * @param {number} outage milliseconds since the socket was lost
 * @param {number} minDelay milliseconds to wait in any case; the jitter is added to them
 * @param {() => number} random uniform in [0, 1)
 * @returns {number} milliseconds to wait
 */
export function retryDelay(outage, minDelay, random) {
  const bound = Math.min(MAX_BOUND, Math.max(MIN_BOUND, minDelay, outage * OUTAGE_FRACTION));
  return minDelay + random() * bound;
}

/**
 * The minimum wait if the next attempt will probably be rejected too. It doubles each time.
 *
 * @param {number} rejections rejected attempts in a row, 0 for none
 * @returns {number} milliseconds
 */
export const minDelayAfterRejections = (rejections) => doubled(rejections, MAX_BOUND);

/**
 * The minimum wait while the application's token function fails. It doubles, too, so that the
 * application's server is not asked all the time. But it stays short: perhaps only the network is
 * down, and then the client shall be back soon after it.
 *
 * @param {number} failures in a row, 0 for none
 * @returns {number} milliseconds
 */
export const minDelayAfterSecretFailures = (failures) => doubled(failures, MAX_SECRET_DELAY);

/**
 * @param {number} failures
 * @param {number} longest milliseconds
 */
const doubled = (failures, longest) =>
  failures > 0 ? Math.min(longest, 500 * 2 ** failures) : 0;
