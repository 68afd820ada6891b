/**
 * One socket from open to close: the welcome, the heartbeats, and the one `onClosed` call at its
 * end. It never reconnects. connection.js does.
 */

import { CLOSE, FROM_SERVER, TO_SERVER, decode, encode } from "./protocol.js";
import { after } from "./timers.js";

/** @typedef {import("./protocol.js").Frame} Frame */

const WELCOME_TIMEOUT = 10_000;
const PROBE_TIMEOUT = 2_000;

// Heartbeats are sent a quarter of an interval early. So the answer comes in time, and a silent
// server is noticed within one interval instead of one and a half.
const HEARTBEAT_FRACTION = 0.75;

/**
 * How long the server may take to answer a heartbeat before the socket is given up.
 *
 * @param {number} interval milliseconds
 */
const answerTimeout = (interval) => Math.min(10_000, 1.5 * interval);

/**
 * @typedef {object} SocketHandlers
 * @property {(frame: Frame) => void} onFrame
 * @property {(silent: boolean) => void} onSilence true: no frame came for one heartbeat
 *   interval, so the known statuses are stale; false: frames come again
 * @property {(code: number, reason: string) => void} onClosed the last of all calls
 * @property {(frame: Frame) => void} onSent
 */

/**
 * @typedef {object} PresenceSocket
 * @property {(slept: number) => void} check send a heartbeat now if the last frame came long
 *   ago. After a sleep that no connection survives, close immediately
 * @property {() => void} suspect report silence now, and send a heartbeat to check
 * @property {(event: string, data: Record<string, unknown>) => boolean} send false: the socket is
 *   not open
 * @property {() => Promise<void>} leave send `leave` and close
 * @property {(code: number) => void} close close without `leave`
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
  let silent = false;
  let interval = 0; // 0 until the welcome
  let lastFrameAt = Date.now();
  const notSet = () => {};
  let cancelHeartbeat = notSet;
  let cancelSilence = notSet;
  let cancelAnswer = notSet;
  const cancelWelcome = after(WELCOME_TIMEOUT, () => close(CLOSE.HEARTBEAT_TIMEOUT));

  socket.onmessage = ({ data }) => {
    const frame = decode(data);
    if (frame === null || ended) return;
    endSilence();
    if (frame.event === FROM_SERVER.WELCOME) handleWelcome(frame);
    if (frame.event === FROM_SERVER.HEARTBEAT_ACK) {
      cancelAnswer();
      cancelAnswer = notSet;
    }
    handlers.onFrame(frame);
  };
  socket.onclose = ({ code, reason }) => end(code, reason);

  function endSilence() {
    lastFrameAt = Date.now();
    if (interval > 0) startSilenceTimer();
    if (silent) handlers.onSilence((silent = false));
  }

  function startSilenceTimer() {
    cancelSilence();
    cancelSilence = after(interval, beginSilence);
  }

  function beginSilence() {
    cancelSilence();
    if (!silent) handlers.onSilence((silent = true));
  }

  /** @param {Frame} frame */
  function handleWelcome(frame) {
    cancelWelcome();
    interval = Number(frame.data["heartbeat_interval"]) * 1000 || 20_000;
    startSilenceTimer();
    cancelHeartbeat();
    cancelHeartbeat = after(interval * HEARTBEAT_FRACTION, sendHeartbeat);
  }

  function sendHeartbeat() {
    cancelHeartbeat();
    cancelHeartbeat = after(interval * HEARTBEAT_FRACTION, sendHeartbeat);
    send(TO_SERVER.HEARTBEAT);
    // A second heartbeat does not extend the time for the answer to the first.
    if (cancelAnswer === notSet) expectAnswer(answerTimeout(interval));
  }

  /** @param {number} timeout */
  function expectAnswer(timeout) {
    cancelAnswer();
    cancelAnswer = after(timeout, () => close(CLOSE.HEARTBEAT_TIMEOUT));
  }

  /**
   * @param {string} event
   * @param {Record<string, unknown>} [data]
   */
  function send(event, data = {}) {
    if (ended || socket.readyState !== WebSocketClass.OPEN) return false;
    socket.send(encode(event, data));
    // A token must not end up in a log.
    handlers.onSent({ event, data: event === TO_SERVER.REFRESH ? {} : data });
    return true;
  }

  function probe() {
    sendHeartbeat();
    expectAnswer(Math.min(PROBE_TIMEOUT, answerTimeout(interval)));
  }

  /**
   * @param {number} code
   * @param {string} [reason]
   */
  function end(code, reason = "") {
    if (ended) return;
    ended = true;
    for (const cancel of [cancelWelcome, cancelHeartbeat, cancelSilence, cancelAnswer]) cancel();
    handlers.onClosed(code, reason);
  }

  /** @param {number} code */
  function close(code) {
    // If the server is gone, the browser waits long for the closing handshake. So this socket
    // ends now, whatever the browser still does with it.
    socket.close(code >= 3000 ? code : CLOSE.NORMAL);
    end(code);
  }

  return {
    close,
    send,
    check(slept) {
      if (ended || interval === 0) return;
      if (slept > 2 * interval) close(CLOSE.HEARTBEAT_TIMEOUT);
      else if (slept > 0 || Date.now() - lastFrameAt > interval / 2) probe();
    },
    suspect() {
      if (ended || interval === 0) return;
      beginSilence();
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
      close(CLOSE.NORMAL);
      return closed;
    },
  };
}
