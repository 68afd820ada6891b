/**
 * Timers that a hidden tab does not slow down, so that a user whose tab is in the
 * background stays online. Every timer runs twice, in the page and in a worker, and
 * the first to fire wins: where no worker may start, the page's own remains.
 */

/** @type {Worker | null | undefined} undefined: not tried yet */
let worker;
let lastId = 0;
/** @type {Map<number, () => void>} */
const pending = new Map();
/** @type {ReturnType<typeof setTimeout> | undefined} */
let retirement;

/** @param {number} id */
function fire(id) {
  const callback = pending.get(id);
  forget(id);
  callback?.();
}

/**
 * A worker keeps a process that is no browser (Bun, Deno) from ending, so it goes with
 * the last timer. Not at once: the next timer may be set a moment later.
 *
 * @param {number} id
 */
function forget(id) {
  pending.delete(id);
  if (pending.size > 0 || !worker) return;
  clearTimeout(retirement);
  retirement = setTimeout(() => {
    if (pending.size > 0) return;
    worker?.terminate();
    worker = undefined;
  });
}

function startWorker() {
  worker = null;
  if (typeof document === "undefined") return; // only a page's timers are slowed down
  try {
    worker = new Worker(new URL("./ticker.js", import.meta.url), { type: "module" });
    worker.onmessage = ({ data }) => fire(data);
    worker.onerror = (event) => {
      event.preventDefault();
      worker = null;
    };
  } catch {
    // another origin's script, or a policy against workers
  }
}

/**
 * Call back once after `delay` milliseconds.
 *
 * @param {number} delay
 * @param {() => void} callback
 * @returns {() => void} cancels it
 */
export function after(delay, callback) {
  if (worker === undefined) startWorker();
  lastId += 1;
  const id = lastId;
  pending.set(id, callback);
  const own = setTimeout(fire, delay, id);
  worker?.postMessage({ id, delay });
  return () => {
    clearTimeout(own);
    forget(id);
  };
}

/**
 * @template T
 * @param {number} delay milliseconds
 * @param {Promise<T>} promise
 * @returns {Promise<T>} the same, but rejected if it takes longer
 */
export function within(delay, promise) {
  return new Promise((resolve, reject) => {
    const cancel = after(delay, () => reject(new Error(`not within ${delay} ms`)));
    promise.then(resolve, reject).finally(cancel);
  });
}
