/**
 * Timers that a hidden tab does not slow down, so that a user stays online while the tab is in
 * the background. Each timer runs twice: in the page and in a worker. The first one to fire
 * wins. If the browser allows no worker, the page's own timer still fires.
 */

/** @type {Worker | null | undefined} undefined: not started yet; null: not available */
let worker;
let lastId = 0;
/** @type {Map<number, () => void>} */
const pending = new Map();
/** @type {ReturnType<typeof setTimeout> | undefined} */
let termination;

/** @param {number} id */
function fire(id) {
  const callback = pending.get(id);
  remove(id);
  callback?.();
}

/**
 * Forget a timer, and end the worker after the last one: outside of browsers (Bun, Deno) a
 * worker keeps the process from ending. The worker ends a little later, since the next timer is
 * often set in the same turn of the event loop.
 *
 * @param {number} id
 */
function remove(id) {
  pending.delete(id);
  if (pending.size > 0 || !worker) return;
  clearTimeout(termination);
  termination = setTimeout(() => {
    if (pending.size > 0) return;
    worker?.terminate();
    worker = undefined;
  });
}

function startWorker() {
  worker = null;
  if (typeof document === "undefined") return; // only the timers of a page are slowed down
  try {
    worker = new Worker(new URL("./timer-worker.js", import.meta.url), { type: "module" });
    worker.onmessage = ({ data }) => fire(data);
    worker.onerror = (event) => {
      event.preventDefault();
      worker = null;
    };
  } catch {
    // The script is of another origin, or a policy forbids workers.
  }
}

/**
 * Call `callback` once after `delay` milliseconds.
 *
 * @param {number} delay
 * @param {() => void} callback
 * @returns {() => void} cancels the timer
 */
export function after(delay, callback) {
  if (worker === undefined) startWorker();
  lastId += 1;
  const id = lastId;
  pending.set(id, callback);
  const pageTimer = setTimeout(fire, delay, id);
  worker?.postMessage({ id, delay });
  return () => {
    clearTimeout(pageTimer);
    remove(id);
  };
}

/**
 * @template T
 * @param {number} delay milliseconds
 * @param {Promise<T>} promise
 * @returns {Promise<T>} settles as `promise` does, but is rejected after `delay`
 */
export function withTimeout(delay, promise) {
  return new Promise((resolve, reject) => {
    const cancel = after(delay, () => reject(new Error(`took longer than ${delay} ms`)));
    promise.then(resolve, reject).finally(cancel);
  });
}
