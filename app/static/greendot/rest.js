/**
 * The REST side: the first status map while the socket is still being opened, and the
 * ticket that stands for a token in the socket's URL (browsers cannot send headers
 * with a WebSocket).
 */

import { PresenceHttpError, PresenceNetworkError, PresenceSecretError } from "./errors.js";
import { CLOSE, PATHS } from "./protocol.js";
import { within } from "./timers.js";

const TIMEOUT = 10_000;

/** @typedef {string | (() => string | Promise<string>)} Secret a value, or its source */

/**
 * @param {unknown} error
 * @returns {number} the close code that says the same as this failed request
 */
export function closeCodeOf(error) {
  const status = error instanceof PresenceHttpError ? error.status : 0;
  if (status === 401) return CLOSE.NOT_AUTHENTICATED;
  if (status === 403) return CLOSE.NOT_ALLOWED;
  if (status === 429) return CLOSE.TOO_MANY;
  return CLOSE.NOT_HEARD;
}

/**
 * @param {Secret} secret
 * @returns {Promise<string>} rejected if its source fails, or takes longer than a request
 *   may. What the source throws at once is a bug of it, and passed on as it is
 */
export async function reveal(secret) {
  let value = typeof secret === "function" ? secret() : secret;
  if (typeof value === "object" && value !== null) {
    try {
      value = await within(TIMEOUT, Promise.resolve(value));
    } catch (error) {
      throw isBug(error) ? error : new PresenceSecretError(error);
    }
  }
  if (typeof value === "string") return value;
  throw new TypeError(`the token (or the ticket) has to be a string, but is ${typeof value}`);
}

/**
 * @param {unknown} error of somebody's asynchronous function
 * @returns {boolean} whether it is certain that the network has no part in it
 */
const isBug = (error) => error instanceof ReferenceError || error instanceof RangeError;

/**
 * @param {object} options
 * @param {string} options.base the server's http(s) URL, without a slash at its end
 * @param {Secret} [options.token] without it, the browser's cookie speaks
 * @param {typeof globalThis.fetch} options.fetch
 * @returns the calls of one attempt to connect
 */
export function createRest({ base, token, fetch }) {
  /** @type {Promise<string> | null} asked for once, whatever number of calls need it */
  let revealed = null;

  /**
   * @param {string} method
   * @param {string} path
   * @returns {Promise<any>} what stands under `data`
   */
  async function call(method, path) {
    /** @type {Record<string, string>} */
    const headers = { Accept: "application/json" };
    if (token !== undefined) {
      headers["Authorization"] = `Bearer ${await (revealed ??= reveal(token))}`;
    }
    const credentials = token === undefined ? "include" : "omit";
    const url = base + path;
    const cutter = typeof AbortController === "undefined" ? null : new AbortController();
    /** @type {RequestInit} */
    const init = { method, headers, credentials, cache: "no-store" };
    if (cutter !== null) init.signal = cutter.signal;
    // `fetch` would throw a TypeError for this as for a lost network: here it is only this.
    if (typeof Request !== "undefined") new Request(url, init);
    const asked = fetch(url, init);
    try {
      return await within(TIMEOUT, answered(url, asked));
    } catch (error) {
      if (error instanceof PresenceHttpError || isBug(error)) throw error;
      throw new PresenceNetworkError(url, error);
    } finally {
      cutter?.abort(); // where it took too long
    }
  }

  /**
   * @param {string} url
   * @param {Promise<Response>} asked
   */
  async function answered(url, asked) {
    const response = await asked;
    if (!response.ok) throw new PresenceHttpError(url, response.status);
    const body = await response.json().catch(() => null);
    if (typeof body?.data !== "object") throw new PresenceHttpError(url, response.status);
    return body.data;
  }

  return {
    /** @returns {Promise<string>} a ticket for one socket */
    async ticket() {
      return (await call("POST", PATHS.TICKET)).ticket;
    },

    /** @returns {Promise<Record<string, boolean>>} friends and conversation partners */
    async statuses() {
      const [friends, partners] = await Promise.all([
        call("GET", PATHS.FRIENDS),
        call("GET", PATHS.CONVERSATIONS),
      ]);
      return { ...partners.statuses, ...friends.statuses };
    },
  };
}
