/**
 * Timers that a hidden tab does not slow down, so that a user stays online while the tab is in
 * the background. Each timer runs twice: in the page and in a worker. The first one to fire
 * wins. If the browser allows no worker, the page's own timer still fires.
 */
/**
 * Call `callback` once after `delay` milliseconds.
 *
 * @param {number} delay
 * @param {() => void} callback
 * @returns {() => void} cancels the timer
 */
export declare function after(delay: number, callback: () => void): () => void;
/**
 * @template T
 * @param {number} delay milliseconds
 * @param {Promise<T>} promise
 * @returns {Promise<T>} settles as `promise` does, but is rejected after `delay`
 */
export declare function withTimeout<T>(delay: number, promise: Promise<T>): Promise<T>;
