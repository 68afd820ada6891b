/** The user's token. Several parts of a page need one at the same time, and share it. */

import { resolveSecret } from "./rest.js";

/** @typedef {import("./rest.js").Secret} Secret */

/**
 * @typedef {object} TokenSource
 * @property {() => Promise<string>} get a fresh token. Rejected as `resolveSecret` is
 * @property {() => Promise<string>} getEarly as `get`, and keep the token for a short time: until
 *   the next `take`
 * @property {() => Promise<string>} take as `get`, for an attempt to connect: the one after it
 *   needs another token
 */

/** How long a token of `getEarly` counts as fresh, in milliseconds. */
const EARLY = 5_000;

/**
 * @param {Secret} secret
 * @returns {TokenSource} calls a function once for all that wait for it at the same time
 */
export function createTokenSource(secret) {
  /** @type {Promise<string> | null} */
  let running = null;
  /** @type {Promise<string> | null} */
  let early = null;
  let earlyUntil = 0;

  function fetchOnce() {
    if (running !== null) return running;
    const token = resolveSecret(secret);
    running = token;
    const end = () => {
      running = null;
      earlyUntil = Date.now() + EARLY;
    };
    token.then(end, end);
    return token;
  }

  function get() {
    const isFresh = running !== null || Date.now() < earlyUntil;
    return (isFresh ? early : null) ?? fetchOnce();
  }

  return {
    get,
    getEarly() {
      early = fetchOnce();
      return early;
    },
    take() {
      const token = get();
      early = null;
      return token;
    },
  };
}
