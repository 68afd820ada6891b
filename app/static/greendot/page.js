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
  const wake = () => onWake(0);
  const shown = () => document.visibilityState === "visible" && onWake(0);
  const stopListening = [
    listen(globalThis, "online", wake),
    listen(globalThis, "offline", onOffline),
    listen(globalThis, "pageshow", wake),
    listen(globalThis.document, "visibilitychange", shown),
    listen(globalThis.document, "resume", wake),
  ];

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
    for (const stop of stopListening) stop();
    cancel();
  };
}

/**
 * The back/forward cache keeps a page that the user may come back to, but runs nothing of
 * it: its socket would be open and silent.
 *
 * @param {object} handlers
 * @param {() => void} handlers.onFreeze the page may go into the cache
 * @param {() => void} handlers.onThaw the page has come back from it
 * @returns {() => void} stops watching
 */
export function watchCache({ onFreeze, onThaw }) {
  /** @param {() => void} handler */
  const ifPersisted = (handler) => (/** @type {Event} */ event) =>
    /** @type {PageTransitionEvent} */ (event).persisted === true && handler();
  const stopListening = [
    listen(globalThis, "pagehide", ifPersisted(onFreeze)),
    listen(globalThis, "pageshow", ifPersisted(onThaw)),
  ];
  return () => {
    for (const stop of stopListening) stop();
  };
}

/**
 * @param {Partial<EventTarget> | undefined} target may be none, where there is no page
 * @param {string} event
 * @param {(event: Event) => void} listener
 * @returns {() => void} stops listening
 */
function listen(target, event, listener) {
  target?.addEventListener?.(event, listener);
  return () => target?.removeEventListener?.(event, listener);
}

/**
 * @param {string} url of the server
 * @returns {boolean} whether its answers are hidden from this page unless it allows them
 */
export const isOfAnotherOrigin = (url) =>
  typeof location !== "undefined" && new URL(url).origin !== location.origin;

/**
 * @param {string} url of the server
 * @returns {boolean} whether browsers keep this page from using it: they make an exception
 *   for the machine itself
 */
export const isMixedContent = (url) =>
  typeof location !== "undefined" &&
  location.protocol === "https:" &&
  /^http:/.test(url) &&
  !/^http:\/\/(127\.[\d.]+|\[::1\]|([^/:]*\.)?localhost)(:|\/|$)/.test(url);

/** @returns {boolean} the browser says that there is no network at all */
export function networkIsGone() {
  return typeof navigator !== "undefined" && navigator.onLine === false;
}
