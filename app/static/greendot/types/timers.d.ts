/**
 * Timers that a hidden tab does not slow down, so that a user whose tab is in the
 * background stays online. Every timer runs twice, in the page and in a worker, and
 * the first to fire wins: where no worker may start, the page's own remains.
 */
/**
 * Call back once after `delay` milliseconds.
 *
 * @param {number} delay
 * @param {() => void} callback
 * @returns {() => void} cancels it
 */
export declare function after(delay: number, callback: () => void): () => void;
/**
 * @template T
 * @param {number} delay milliseconds
 * @param {Promise<T>} promise
 * @returns {Promise<T>} the same, but rejected if it takes longer
 */
export declare function within<T>(delay: number, promise: Promise<T>): Promise<T>;
