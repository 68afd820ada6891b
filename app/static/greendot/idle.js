/**
 * Whether the person is there, from the signs of all tabs, and when the server is told. Every
 * tab collects signs and passes them to the others. Only the tab that has the socket decides, and
 * reports to the server.
 */

import { watchDevice } from "./device.js";
import { isMobile, isShown, watchInput } from "./input.js";
import { after } from "./timers.js";

// A user who often comes and goes is reported as idle at most this often. A return is always
// reported.
const MIN_REPORT_SPACING = 60_000;
const DEFAULT_IDLE_AFTER = 300_000;
const MAX_INPUT_SPACING = 5_000;

/**
 * @typedef {object} Signs
 * @property {boolean} detects false: nothing is found out, only `byHand` counts
 * @property {boolean | null} byHand what the application says; it wins over everything else
 * @property {number} lastInputAt in any tab
 * @property {boolean} putAway a phone shows none of the tabs
 * @property {number} lockedAt when the screen was locked; 0: it is not
 * @property {boolean} inUse the browser sees that somebody uses the device
 */

/**
 * @param {Signs} signs
 * @param {number} idleAfter milliseconds
 * @returns {number} the time from which on the person counts as idle, if there are no other
 *   signs; it may lie in the past
 */
export function idleFrom(signs, idleAfter) {
  if (signs.byHand !== null) return signs.byHand ? -Infinity : Infinity;
  if (!signs.detects) return Infinity;
  if (signs.putAway || signs.lockedAt > signs.lastInputAt) return -Infinity;
  return signs.inUse ? Infinity : signs.lastInputAt + idleAfter;
}

/**
 * @param {{idle: boolean, at: number}} last what this connection has reported, and when. A new
 *   connection is not idle and has reported nothing: `at` is -Infinity
 * @param {boolean} idle
 * @returns {number} when to report `idle`; Infinity: the server knows it
 */
export function reportFrom(last, idle) {
  if (idle === last.idle) return Infinity;
  return idle ? last.at + MIN_REPORT_SPACING : -Infinity;
}

/**
 * What a tab tells the other tabs. Tabs may run different versions of the client, so these names
 * are a contract.
 *
 * @typedef {object} ActivityMessage
 * @property {number} [lastInputAt]
 * @property {boolean} [shown] whether the tab that sends it is shown
 * @property {boolean | null} [byHand]
 * @property {number} [idleAfter] milliseconds, as the server says
 */

/** @typedef {ReturnType<typeof createIdle>} Idle */

/**
 * @param {object} options
 * @param {boolean} options.detects
 * @param {(idle: boolean) => boolean} options.send reports to the server; false: this tab has no
 *   open socket
 * @param {(message: ActivityMessage) => void} options.post sends to the other tabs
 * @param {typeof after} [options.schedule] for tests
 */
export function createIdle({ detects, send, post, schedule = after }) {
  const mobile = isMobile();
  /** @type {Signs} */
  const signs = {
    detects: detects && typeof document !== "undefined",
    byHand: null,
    lastInputAt: 0,
    putAway: false,
    lockedAt: 0,
    inUse: false,
  };
  let idleAfter = DEFAULT_IDLE_AFTER;
  let last = { idle: false, at: -Infinity };
  let reports = false;
  /** @type {string | null} the tab that was shown last, if it is still shown */
  let shownTab = null;
  const nothing = () => {};
  let stopWatching = nothing;
  let stopDevice = nothing;
  let watchedFor = 0; // 0: the device is not watched
  /** @type {(() => void) | null} */
  let cancelTimer = null;

  function start() {
    if (!signs.detects || stopWatching !== nothing) return;
    stopWatching = watchInput({
      onInput: (at) => {
        noteInput(at);
        post({ lastInputAt: at, shown: isShown() });
      },
      onShown: (shown) => {
        noteShown("this tab", shown);
        if (shown) noteInput(Date.now());
        post({ lastInputAt: signs.lastInputAt, shown });
      },
      spacing: () => Math.min(MAX_INPUT_SPACING, idleAfter / 4),
    });
    signs.lastInputAt = Date.now(); // somebody has opened the page, or come back to it
    noteShown("this tab", isShown());
    post({ lastInputAt: signs.lastInputAt, shown: isShown() });
  }

  function stop() {
    stopWatching();
    stopDevice();
    stopTimer();
    stopWatching = stopDevice = nothing;
    reports = false;
    watchedFor = 0;
    signs.lockedAt = 0;
    signs.inUse = false;
  }

  function stopTimer() {
    cancelTimer?.();
    cancelTimer = null;
  }

  /** @param {number} at */
  function noteInput(at) {
    signs.lastInputAt = Math.max(signs.lastInputAt, at);
    // Input often comes, and seldom changes anything: the timer that runs looks at it later.
    if (last.idle || cancelTimer === null) update();
  }

  /**
   * @param {string} tab
   * @param {boolean} shown
   */
  function noteShown(tab, shown) {
    if (shown) shownTab = tab;
    else if (shownTab === tab) shownTab = null;
    signs.putAway = mobile && shownTab === null;
    update();
  }

  /** Report what is due, and set the timer for what comes next without any sign. */
  function update() {
    stopTimer();
    if (!reports) return;
    const time = Date.now();
    const from = idleFrom(signs, idleAfter);
    const idle = time >= from;
    let due = reportFrom(last, idle);
    if (due <= time) {
      reports = send(idle);
      if (!reports) return;
      last = { idle, at: time };
      due = Infinity;
    }
    const next = Math.min(due, idle ? Infinity : from);
    if (next < Infinity) cancelTimer = schedule(next - time, update);
  }

  /** Tell the other tabs what they may not have heard. */
  function announce() {
    const { byHand, lastInputAt } = signs;
    post({ lastInputAt, idleAfter, shown: isShown(), ...(byHand === null ? {} : { byHand }) });
  }

  return {
    start,
    stop,
    announce,

    /**
     * This tab has a new socket.
     *
     * @param {number} seconds `idle_after`; NaN: this server does not take reports
     */
    onWelcome(seconds) {
      last = { idle: false, at: -Infinity };
      reports = seconds > 0;
      if (!reports) return;
      idleAfter = seconds * 1000;
      announce();
      if (signs.detects && watchedFor !== idleAfter) {
        stopDevice();
        watchedFor = idleAfter;
        stopDevice = watchDevice(idleAfter, ({ inUse, locked }) => {
          signs.inUse = inUse;
          signs.lockedAt = locked ? signs.lockedAt || Date.now() : 0;
          update();
        });
      }
      update();
    },

    /**
     * @param {string} tab that has sent it
     * @param {ActivityMessage} message
     */
    receive(tab, message) {
      idleAfter = message.idleAfter ?? idleAfter;
      if (message.byHand !== undefined) signs.byHand = message.byHand;
      if (message.shown !== undefined) noteShown(tab, message.shown);
      noteInput(message.lastInputAt ?? 0);
      if (message.byHand !== undefined) update();
    },

    /** @param {boolean | null} idle null: find it out again */
    setIdle(idle) {
      signs.byHand = idle;
      post({ byHand: idle });
      update();
    },
  };
}
