/**
 * Signs of a person in this page: pointer, keyboard, touch and wheel, and whether the page is
 * shown. The listeners only note the time, and the page's handlers never wait for them.
 *
 * `scroll` is no sign of a person: a chat scrolls by itself when a message comes. A person who
 * scrolls uses the wheel, the pointer, a key or a finger.
 */

import { listen } from "./page.js";
import { after } from "./timers.js";

const INPUT_EVENTS = ["pointerdown", "pointermove", "keydown", "wheel", "touchstart", "touchmove"];
const OPTIONS = { passive: true, capture: true };

/**
 * @param {object} handlers
 * @param {(at: number) => void} handlers.onInput called immediately for the first input, then
 *   at most once per spacing with the time of the latest input
 * @param {(shown: boolean) => void} handlers.onShown the page was shown or hidden
 * @param {() => number} handlers.spacing milliseconds
 * @returns {() => void} stops watching
 */
export function watchInput({ onInput, onShown, spacing }) {
  let lastInputAt = 0;
  let reportedAt = 0;
  let isWaiting = false;
  let cancel = () => {};

  function handleInput() {
    lastInputAt = Date.now();
    if (!isWaiting) report();
  }

  function report() {
    reportedAt = lastInputAt;
    isWaiting = true;
    cancel = after(spacing(), () => {
      isWaiting = false;
      if (lastInputAt > reportedAt) report();
    });
    onInput(lastInputAt);
  }

  const stopListening = [
    ...INPUT_EVENTS.map((name) => listen(globalThis, name, handleInput, OPTIONS)),
    // Not captured: the window gets the focus, and not an element in it.
    listen(globalThis, "focus", handleInput),
    listen(globalThis.document, "visibilitychange", () => onShown(isShown())),
  ];
  return () => {
    for (const stop of stopListening) stop();
    cancel();
  };
}

/** @returns {boolean} whether the page is visible; true outside of browsers */
export const isShown = () => globalThis.document?.visibilityState !== "hidden";

/**
 * @returns {boolean} whether this is a phone or a tablet. There a hidden page means that the
 *   person has put the application away
 */
export function isMobile() {
  if (typeof navigator === "undefined") return false;
  const { userAgent = "", maxTouchPoints = 0 } = navigator;
  // An iPad claims to be a Mac, but no Mac has a touch screen.
  const isPad = /Macintosh/.test(userAgent) && maxTouchPoints > 1;
  return isPad || /Android|Mobi|iP(ad|hone|od)/.test(userAgent);
}
