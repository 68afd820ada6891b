/**
 * Events of the page around the client: it becomes visible again, the network goes and
 * returns, the computer sleeps and wakes.
 */

import { after } from "./timers.js";

const TICK = 5000;

/**
 * @param {object} handlers
 * @param {(slept: number) => void} handlers.onWake the socket may have ended.
 *   `slept`: for how many milliseconds the page did not run; 0 if it did not sleep
 * @param {() => void} handlers.onOffline the browser reports that there is no network
 * @returns {() => void} stops watching
 */
export function watchPage({ onWake, onOffline }) {
  const wake = () => onWake(0);
  const wakeIfVisible = () => document.visibilityState === "visible" && onWake(0);
  const stopListening = [
    listen(globalThis, "online", wake),
    listen(globalThis, "offline", onOffline),
    listen(globalThis, "pageshow", wake),
    listen(globalThis.document, "visibilitychange", wakeIfVisible),
    listen(globalThis.document, "resume", wake),
  ];

  // A sleeping computer runs no timers. So a timer that fires much too late reveals a sleep.
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
 * Watch the back/forward cache. The browser keeps a page there in case the user goes back to
 * it, and runs none of its code. A socket of such a page would be open and silent.
 *
 * @param {object} handlers
 * @param {() => void} handlers.onFreeze the page may be put into the cache
 * @param {() => void} handlers.onThaw the page is shown again from the cache
 * @returns {() => void} stops watching
 */
export function watchBackForwardCache({ onFreeze, onThaw }) {
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
 * @param {Partial<EventTarget> | undefined} target undefined outside of browsers
 * @param {string} event
 * @param {(event: Event) => void} listener
 * @param {AddEventListenerOptions} [options]
 * @returns {() => void} stops listening
 */
export function listen(target, event, listener, options) {
  target?.addEventListener?.(event, listener, options);
  return () => target?.removeEventListener?.(event, listener, options);
}

/**
 * @param {string} url of the server
 * @returns {boolean} whether this page can read its answers only if the server allows it
 */
export const isCrossOrigin = (url) =>
  typeof location !== "undefined" && new URL(url).origin !== location.origin;

/**
 * @param {string} url of the server
 * @returns {boolean} whether browsers block it because the page is https and the server is
 *   http. They allow http to the computer itself
 */
export const isMixedContent = (url) =>
  typeof location !== "undefined" &&
  location.protocol === "https:" &&
  /^http:/.test(url) &&
  !/^http:\/\/(127\.[\d.]+|\[::1\]|([^/:]*\.)?localhost)(:|\/|$)/.test(url);

/** @returns {boolean} whether the browser reports that there is no network at all */
export function isNetworkDown() {
  return typeof navigator !== "undefined" && navigator.onLine === false;
}
