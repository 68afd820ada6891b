/**
 * The REST side: the first status map while the socket is still being opened, and the
 * ticket that stands for a token in the socket's URL (browsers cannot send headers
 * with a WebSocket).
 */

import { CLOSE, PATHS } from "./protocol.js";
import { within } from "./timers.js";

const TIMEOUT = 10_000;

/** @typedef {string | (() => string | Promise<string>)} Secret a value, or its source */

/** The server answered, and it was no. */
export class PresenceHttpError extends Error {
  /**
   * @param {string} path
   * @param {number} status
   */
  constructor(path, status) {
    super(`${path} answered ${status}`);
    this.name = "PresenceHttpError";
    this.status = status;
  }
}

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
 * @returns {Promise<string>} rejected if its source takes longer than a request may
 */
export async function reveal(secret) {
  if (typeof secret !== "function") return secret;
  return within(TIMEOUT, Promise.resolve(secret()));
}

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
    const response = await fetch(base + path, {
      method,
      headers,
      credentials,
      cache: "no-store",
      signal: AbortSignal.timeout(TIMEOUT),
    });
    if (!response.ok) throw new PresenceHttpError(path, response.status);
    return (await response.json()).data;
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
