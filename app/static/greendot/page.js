/**
 * What happens to the page around the client: it is shown again, the network comes and
 * goes, the machine sleeps and wakes.
 */

import { after } from "./timers.js";

const TICK = 5000;

/**
 * @param {object} handlers
 * @param {(slept: number) => void} handlers.onWake the page has reason to look at its
 *   socket; `slept` is how many milliseconds it did not run (0: it was not asleep)
 * @param {() => void} handlers.onOffline the browser says that the network is gone
 * @returns {() => void} stops watching
 */
export function watchPage({ onWake, onOffline }) {
  const stopped = new AbortController();
  const { signal } = stopped;
  const wake = () => onWake(0);
  const shown = () => document.visibilityState === "visible" && onWake(0);
  globalThis.addEventListener?.("online", wake, { signal });
  globalThis.addEventListener?.("offline", onOffline, { signal });
  globalThis.addEventListener?.("pageshow", wake, { signal });
  if (typeof document !== "undefined") {
    document.addEventListener("visibilitychange", shown, { signal });
    document.addEventListener("resume", wake, { signal });
  }

  // A sleeping machine runs no timers: one that fires much too late tells of it.
  let last = Date.now();
  let cancel = after(TICK, tick);
  function tick() {
    const late = Date.now() - last - TICK;
    last = Date.now();
    cancel = after(TICK, tick);
    if (late > TICK) onWake(late);
  }

  return () => {
    stopped.abort();
    cancel();
  };
}

/** @returns {boolean} the browser says that there is no network at all */
export function networkIsGone() {
  return typeof navigator !== "undefined" && navigator.onLine === false;
}
