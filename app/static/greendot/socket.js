/**
 * One socket's life: open, welcome, heartbeats, and the end, of which there is exactly
 * one. It never tries again; client.js does.
 */

import { CLOSE, FROM_SERVER, TO_SERVER, decode, encode } from "./protocol.js";
import { after } from "./timers.js";

/** @typedef {import("./protocol.js").Frame} Frame */

const WELCOME_TIMEOUT = 10_000;
const PROBE_TIMEOUT = 2_000;

// The last quarter of the interval is for the answer: a server that falls silent is
// noticed within one interval, not one and a half.
const BEAT_SHARE = 0.75;

/**
 * How long an answer to a heartbeat may take before the socket counts as dead.
 *
 * @param {number} interval milliseconds
 */
const answerTimeout = (interval) => Math.min(10_000, 1.5 * interval);

/**
 * @typedef {object} SocketHandlers
 * @property {(frame: Frame) => void} onFrame
 * @property {(quiet: boolean) => void} onQuiet true: nothing was heard for a heartbeat
 *   interval, so what was heard before is no longer vouched for; false: heard again
 * @property {(code: number, reason: string) => void} onClosed the last call that is ever
 *   made
 * @property {(frame: Frame) => void} onSent
 */

/**
 * @typedef {object} PresenceSocket
 * @property {(slept: number) => void} check ask for a sign of life now, or give up at
 *   once after a sleep that no connection outlives
 * @property {() => void} doubt what was heard may no longer hold: ask for a sign of life
 * @property {() => Promise<void>} leave say goodbye and close
 * @property {(code: number) => void} cut close without goodbye
 */

/**
 * @param {string} url
 * @param {typeof WebSocket} WebSocketClass
 * @param {SocketHandlers} handlers
 * @returns {PresenceSocket}
 */
export function openSocket(url, WebSocketClass, handlers) {
  const socket = new WebSocketClass(url);
  let ended = false;
  let quiet = false;
  let interval = 0; // 0 until the server's welcome
  let lastHeard = Date.now();
  const never = () => {};
  let cancelBeat = never;
  let cancelQuiet = never;
  let cancelAnswer = never;
  const cancelWelcome = after(WELCOME_TIMEOUT, () => cut(CLOSE.SILENT_SERVER));

  socket.onmessage = ({ data }) => {
    const frame = decode(data);
    if (frame === null || ended) return;
    heard();
    if (frame.event === FROM_SERVER.WELCOME) welcome(frame);
    if (frame.event === FROM_SERVER.HEARTBEAT_ACK) {
      cancelAnswer();
      cancelAnswer = never;
    }
    handlers.onFrame(frame);
  };
  socket.onclose = ({ code, reason }) => end(code, reason);

  function heard() {
    lastHeard = Date.now();
    if (interval > 0) waitForQuiet();
    if (quiet) handlers.onQuiet((quiet = false));
  }

  function waitForQuiet() {
    cancelQuiet();
    cancelQuiet = after(interval, fallQuiet);
  }

  function fallQuiet() {
    cancelQuiet();
    if (!quiet) handlers.onQuiet((quiet = true));
  }

  /** @param {Frame} frame */
  function welcome(frame) {
    cancelWelcome();
    interval = Number(frame.data["heartbeat_interval"]) * 1000 || 20_000;
    waitForQuiet();
    cancelBeat();
    cancelBeat = after(interval * BEAT_SHARE, beat);
  }

  function beat() {
    cancelBeat();
    cancelBeat = after(interval * BEAT_SHARE, beat);
    send(TO_SERVER.HEARTBEAT);
    // A later heartbeat does not give an unanswered one more time.
    if (cancelAnswer === never) expectAnswer(answerTimeout(interval));
  }

  /** @param {number} timeout */
  function expectAnswer(timeout) {
    cancelAnswer();
    cancelAnswer = after(timeout, () => cut(CLOSE.SILENT_SERVER));
  }

  /** @param {string} event */
  function send(event) {
    if (socket.readyState !== WebSocketClass.OPEN) return;
    socket.send(encode(event));
    handlers.onSent({ event, data: {} });
  }

  function probe() {
    beat();
    expectAnswer(Math.min(PROBE_TIMEOUT, answerTimeout(interval)));
  }

  /**
   * @param {number} code
   * @param {string} [reason]
   */
  function end(code, reason = "") {
    if (ended) return;
    ended = true;
    for (const cancel of [cancelWelcome, cancelBeat, cancelQuiet, cancelAnswer]) cancel();
    handlers.onClosed(code, reason);
  }

  /** @param {number} code */
  function cut(code) {
    // On a dead line the browser would wait long for the server's part in closing:
    // the end is now, whatever still happens below.
    socket.close(code >= 3000 ? code : CLOSE.NORMAL);
    end(code);
  }

  return {
    cut,
    check(slept) {
      if (ended || interval === 0) return;
      if (slept > 2 * interval) cut(CLOSE.SILENT_SERVER);
      else if (slept > 0 || Date.now() - lastHeard > interval / 2) probe();
    },
    doubt() {
      if (ended || interval === 0) return;
      fallQuiet();
      probe();
    },
    leave() {
      send(TO_SERVER.LEAVE);
      /** @type {Promise<void>} */
      const closed = new Promise((resolve) => {
        const cancel = after(PROBE_TIMEOUT, resolve);
        socket.onclose = () => {
          cancel();
          resolve();
        };
      });
      cut(CLOSE.NORMAL);
      return closed;
    },
  };
}
