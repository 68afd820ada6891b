/**
 * What the browser knows of the whole device, by the Idle Detection API (Chromium): whether
 * anybody uses it, also in other applications, and whether the screen is locked. The user must
 * have allowed it. This file never asks for the permission: only the application knows when a
 * question makes sense.
 */

const MIN_THRESHOLD = 60_000; // the API takes no less

/**
 * @typedef {object} DeviceState
 * @property {boolean} inUse
 * @property {boolean} locked
 */

/**
 * @param {number} threshold milliseconds without input after which the device is not in use
 * @param {(state: DeviceState) => void} onChange called only with the API and the permission
 * @returns {() => void} stops watching
 */
export function watchDevice(threshold, onChange) {
  const { IdleDetector } = /** @type {any} */ (globalThis);
  if (typeof IdleDetector !== "function") return () => {};
  const controller = new AbortController();
  const { signal } = controller;

  async function start() {
    const name = /** @type {PermissionName} */ ("idle-detection");
    const permission = await navigator.permissions.query({ name });
    if (signal.aborted) return;
    permission.onchange = () => void start().catch(ignore);
    signal.addEventListener("abort", () => (permission.onchange = null));
    if (permission.state !== "granted") return;
    permission.onchange = null;
    const detector = new IdleDetector();
    const report = () => {
      const { userState, screenState } = detector;
      onChange({ inUse: userState === "active", locked: screenState === "locked" });
    };
    detector.addEventListener("change", report);
    await detector.start({ threshold: Math.max(MIN_THRESHOLD, threshold), signal });
    report();
  }

  start().catch(ignore);
  return () => controller.abort();
}

/** A policy of the page forbids the API, or the watch was stopped. */
function ignore() {}
