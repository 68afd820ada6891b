/**
 * What may go wrong. A lost network, and an answer that may be another one soon, are worth
 * a later try. No try mends the rest: a missing feature, a bad URL, a bug in a callback.
 */

/** The server answered, and it was no. */
export class PresenceHttpError extends Error {
  /**
   * @param {string} url
   * @param {number} status
   */
  constructor(url, status) {
    const not = status < 300 ? ", but not as Greendot does" : "";
    super(`${url} answered ${status}${not}`);
    this.name = "PresenceHttpError";
    this.status = status;
  }
}

/** No answer came, or the browser does not let this page read it. */
export class PresenceNetworkError extends Error {
  /**
   * @param {string} url
   * @param {unknown} cause
   */
  constructor(url, cause) {
    super(`${url} gave no answer: ${String(cause)}`);
    this.name = "PresenceNetworkError";
  }
}

/** The application's own function gave no token, or no ticket. */
export class PresenceSecretError extends Error {
  /** @param {unknown} cause */
  constructor(cause) {
    super(`the function that gives the token (or the ticket) failed: ${String(cause)}`);
    this.name = "PresenceSecretError";
  }
}

const KINDS = [PresenceHttpError, PresenceNetworkError, PresenceSecretError];

/**
 * @param {unknown} error
 * @returns {boolean} whether a later try may succeed with nothing changed here
 */
export const mayPass = (error) => KINDS.some((kind) => error instanceof kind);

const MOST_ON_CONSOLE = 20;

/** @typedef {(error: unknown) => void} Report */

/**
 * @param {(error: Error) => void} [onError]
 * @returns {Report} tells the application each time, and the console once
 */
export function createReport(onError) {
  /** @type {Set<string>} */
  const said = new Set();
  return (thrown) => {
    const error = thrown instanceof Error ? thrown : new Error(String(thrown));
    const text = String(error);
    if (!said.has(text) && said.size < MOST_ON_CONSOLE) {
      said.add(text);
      console.error("greendot:", error);
    }
    try {
      onError?.(error);
    } catch (another) {
      console.error("greendot: onError failed:", another);
    }
  };
}

/**
 * @template {unknown[]} Arguments
 * @param {((...given: Arguments) => unknown) | undefined} callback the application's
 * @param {Report} report
 * @returns {(...given: Arguments) => void} the same, and a bug in it is only reported
 */
export const guarded =
  (callback, report) =>
  async (...given) => {
    try {
      await callback?.(...given);
    } catch (error) {
      report(error);
    }
  };
