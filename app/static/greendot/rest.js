/**
 * The REST calls. They give the first status map while the socket is still opening. They also
 * give the ticket for the socket's URL, since browsers cannot send a WebSocket with a header for
 * the token.
 */

import {
  PresenceHttpError,
  PresenceNetworkError,
  PresenceSecretError,
  PresenceSignedOut,
} from "./errors.js";
import { CLOSE, PATHS, WITH_DETAIL } from "./protocol.js";
import { withTimeout } from "./timers.js";

const TIMEOUT = 10_000;

/** @typedef {import("./detail.js").Detail} Detail */
/** @typedef {import("./my-presence.js").MyPresence} MyPresence */
/** @typedef {import("./my-presence.js").MyPresenceChanges} MyPresenceChanges */

/** @typedef {string | null | undefined} MaybeSecret */
/** @typedef {string | (() => MaybeSecret | Promise<MaybeSecret>)} Secret a token or ticket, or a
 * function that gives one. It gives null, undefined or "" if the user is signed out */

/**
 * @param {unknown} error
 * @returns {number} the close code with the same meaning as this failed request
 */
export function closeCodeOf(error) {
  const status = error instanceof PresenceHttpError ? error.status : 0;
  if (status === 401) return CLOSE.NOT_AUTHENTICATED;
  if (status === 403) return CLOSE.NOT_ALLOWED;
  if (status === 429) return CLOSE.TOO_MANY;
  return CLOSE.ABNORMAL;
}

/**
 * @param {Secret} secret
 * @returns {Promise<string>} rejected with `PresenceSignedOut` if there is none, and with
 *   `PresenceSecretError` if the function's promise is rejected or takes too long. What the
 *   function itself throws is a bug in it, and is passed on unchanged
 */
export async function resolveSecret(secret) {
  let value = typeof secret === "function" ? secret() : secret;
  if (typeof value === "object" && value !== null) {
    try {
      value = await withTimeout(TIMEOUT, Promise.resolve(value));
    } catch (error) {
      throw isBug(error) ? error : new PresenceSecretError(error);
    }
  }
  if (value === null || value === undefined || value === "") throw new PresenceSignedOut();
  if (typeof value === "string") return value;
  throw new TypeError(`the token (or ticket) must be a string, but it is: ${typeof value}`);
}

/**
 * @param {unknown} error of an asynchronous function of the application
 * @returns {boolean} whether it cannot come from the network
 */
const isBug = (error) => error instanceof ReferenceError || error instanceof RangeError;

/**
 * @param {object} options
 * @param {string} options.base the server's http(s) URL, without a slash at its end
 * @param {() => Promise<string>} [options.getToken] default: the browser sends the cookie
 * @param {typeof globalThis.fetch} options.fetch
 * @returns the calls of one attempt to connect
 */
export function createRest({ base, getToken, fetch }) {
  /** @type {Promise<string> | null} asked for once, however many calls need it */
  let resolved = null;

  /**
   * @param {string} method
   * @param {string} path
   * @param {object} [body]
   * @returns {Promise<any>} the `data` of the answer
   */
  async function call(method, path, body) {
    /** @type {Record<string, string>} */
    const headers = { Accept: "application/json" };
    if (getToken !== undefined) {
      headers["Authorization"] = `Bearer ${await (resolved ??= getToken())}`;
    }
    const credentials = getToken === undefined ? "include" : "omit";
    const url = base + path;
    const controller = typeof AbortController === "undefined" ? null : new AbortController();
    /** @type {RequestInit} */
    const init = { method, headers, credentials, cache: "no-store" };
    if (controller !== null) init.signal = controller.signal;
    if (body !== undefined) {
      init.body = JSON.stringify(body);
      headers["Content-Type"] = "application/json";
    }
    // `fetch` throws a TypeError for an invalid header and for a lost network alike. This line
    // throws it for the header only.
    if (typeof Request !== "undefined") new Request(url, init);
    const request = fetch(url, init);
    try {
      return await withTimeout(TIMEOUT, readData(url, request));
    } catch (error) {
      if (error instanceof PresenceHttpError || isBug(error)) throw error;
      throw new PresenceNetworkError(url, error);
    } finally {
      controller?.abort(); // if the request took too long
    }
  }

  /**
   * @param {string} url
   * @param {Promise<Response>} request
   */
  async function readData(url, request) {
    const response = await request;
    const body = await response.json().catch(() => null);
    if (!response.ok) throw new PresenceHttpError(url, response.status, body?.error);
    if (typeof body?.data !== "object") throw new PresenceHttpError(url, response.status);
    return body.data;
  }

  return {
    /**
     * @param {Secret | undefined} ticket default: one that is fetched with the token
     * @param {boolean} withDetail
     * @returns {Promise<string>} the URL for one socket
     */
    async socketUrl(ticket, withDetail) {
      const parts = withDetail ? [WITH_DETAIL] : [];
      if (ticket !== undefined || getToken !== undefined) {
        const value = await (ticket === undefined
          ? call("POST", PATHS.TICKET).then((data) => data.ticket)
          : resolveSecret(ticket));
        parts.push(`ticket=${encodeURIComponent(value)}`);
      }
      const query = parts.length === 0 ? "" : `?${parts.join("&")}`;
      return base.replace(/^http/, "ws") + PATHS.SOCKET + query;
    },

    /**
     * @param {boolean} withDetail
     * @returns {Promise<{
     *   statuses: Record<string, boolean>, details: Record<string, Detail | null>,
     * }>} of friends and conversation partners
     */
    async statuses(withDetail) {
      const query = withDetail ? `?${WITH_DETAIL}` : "";
      const [friends, partners] = await Promise.all([
        call("GET", PATHS.FRIENDS + query),
        call("GET", PATHS.CONVERSATIONS + query),
      ]);
      return {
        statuses: { ...partners.statuses, ...friends.statuses },
        details: { ...partners.details, ...friends.details },
      };
    },

    /** @returns {Promise<MyPresence>} */
    myPresence: () => call("GET", PATHS.ME),

    /**
     * @param {MyPresenceChanges} changes
     * @returns {Promise<MyPresence>}
     */
    changeMyPresence: (changes) => call("PATCH", PATHS.ME, changes),
  };
}
