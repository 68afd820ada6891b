/**
 * The errors of the client. Three of the classes here may be temporary: the client tries again
 * after them. Every other error is permanent: a user who is signed out, a missing feature, a bad
 * URL, a bug in a callback.
 */

/** The server answered a request with an error, or not in Greendot's format. */
export class PresenceHttpError extends Error {
  /**
   * @param {string} url
   * @param {number} status
   * @param {{code?: string, message?: string} | null} [error] what the server says about it
   */
  constructor(url, status, error) {
    const { code = "", message = "" } = error ?? {};
    const detail = status < 300 ? ", but not in Greendot's format" : "";
    super(`${url} answered ${status}${detail}${message && `: ${message}`}`);
    this.name = "PresenceHttpError";
    this.status = status;
    /** For programs, such as `bad_request`. Empty if the answer does not come from Greendot. */
    this.code = code;
  }
}

/** No answer came, or the browser does not let this page read it. */
export class PresenceNetworkError extends Error {
  /**
   * @param {string} url
   * @param {unknown} cause
   */
  constructor(url, cause) {
    super(`${url} did not answer: ${String(cause)}`);
    this.name = "PresenceNetworkError";
  }
}

/** The application's token (or ticket) function failed. */
export class PresenceSecretError extends Error {
  /** @param {unknown} cause */
  constructor(cause) {
    super(`the token (or ticket) function failed: ${String(cause)}`);
    this.name = "PresenceSecretError";
  }
}

/** The application's token (or ticket) function gave none, because nobody is signed in. */
export class PresenceSignedOut extends Error {
  constructor() {
    super("the token (or ticket) function gave none, so the user is signed out");
    this.name = "PresenceSignedOut";
  }
}

const RETRYABLE = [PresenceHttpError, PresenceNetworkError, PresenceSecretError];

/**
 * @param {unknown} error
 * @returns {boolean} whether a later attempt may succeed although nothing changes here
 */
export const isRetryable = (error) => RETRYABLE.some((kind) => error instanceof kind);

const MAX_CONSOLE_MESSAGES = 20;

/** @typedef {(error: unknown) => void} Report */

/**
 * @param {(error: Error) => void} [onError]
 * @returns {Report} calls `onError` each time, and writes each text to the console once
 */
export function createReport(onError) {
  /** @type {Set<string>} */
  const printed = new Set();
  return (thrown) => {
    const error = thrown instanceof Error ? thrown : new Error(String(thrown));
    const text = String(error);
    if (!printed.has(text) && printed.size < MAX_CONSOLE_MESSAGES) {
      printed.add(text);
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
 * Wrap a callback of the application, so that a bug in it cannot stop the client.
 *
 * @template {unknown[]} Arguments
 * @param {((...given: Arguments) => unknown) | undefined} callback
 * @param {Report} report is called with what the callback throws
 * @returns {(...given: Arguments) => void}
 */
export const catchErrors =
  (callback, report) =>
  async (...given) => {
    try {
      await callback?.(...given);
    } catch (error) {
      report(error);
    }
  };
