/**
 * A network that the demo can interrupt. A browser's WebSocket cannot fail in this way: its
 * `close()` always sends a close frame. After `disconnect()` nothing is sent at all, as with an
 * unplugged cable, so the server notices only that heartbeats are missing.
 */

import { FROM_SERVER, TO_SERVER, decode, encode } from "../greendot/protocol.js";

/**
 * @typedef {object} SimulatedNetwork
 * @property {typeof WebSocket} WebSocket for the client's option `WebSocket`
 * @property {typeof fetch} fetch for the client's option `fetch`
 * @property {() => void} disconnect drop everything, in both directions
 * @property {() => void} reconnect let everything pass again. Sockets that were closed meanwhile
 *   stay closed
 * @property {() => boolean} isHeld whether the server still holds a socket open
 * @property {() => number} heardAt when something last arrived here (ms since the epoch)
 * @property {() => number} heartbeatAt when a heartbeat last left, or a socket was opened
 * @property {() => void} freeze stop the heartbeats of the open sockets. The page is answered as
 *   if they had been sent
 */

/** @returns {SimulatedNetwork} */
export function createSimulatedNetwork() {
  let isDisconnected = false;
  let heardAt = 0;
  let heartbeatAt = 0;
  /** @type {Set<SimulatedSocket>} */
  const sockets = new Set();

  class SimulatedSocket extends WebSocket {
    dead = false;
    frozen = false;

    /** @param {string | URL} url */
    constructor(url) {
      super(url);
      sockets.add(this);
      // These listeners run before those of the client, since they are added first.
      /** @param {Event} event */
      const dropEvent = (event) => {
        if (event.type === "close") sockets.delete(this);
        if (isDisconnected || this.dead) event.stopImmediatePropagation();
        else heardAt = Date.now();
        if (event.type === "open") heartbeatAt = Date.now();
      };
      for (const type of ["open", "message", "error", "close"]) {
        this.addEventListener(type, dropEvent);
      }
    }

    /** @param {string} data */
    send(data) {
      if (isDisconnected || this.dead) return;
      const isHeartbeat = decode(data)?.event === TO_SERVER.HEARTBEAT;
      if (this.frozen && isHeartbeat) {
        const answer = encode(FROM_SERVER.HEARTBEAT_ACK, { timestamp: Date.now() });
        this.dispatchEvent(new MessageEvent("message", { data: answer }));
        return;
      }
      if (isHeartbeat) heartbeatAt = Date.now();
      super.send(data);
    }

    /**
     * @param {number} [code]
     * @param {string} [reason]
     */
    close(code, reason) {
      if (isDisconnected) this.dead = true; // the close frame is not sent either
      else super.close(code, reason);
    }

    /** Close a dead socket for real, as operating systems do when they reach each other again. */
    closeIfDead() {
      if (this.dead) super.close();
    }
  }

  return {
    WebSocket: SimulatedSocket,
    fetch: (input, init) =>
      isDisconnected
        ? Promise.reject(new TypeError("the simulated network is disconnected"))
        : fetch(input, init),
    disconnect() {
      isDisconnected = true;
    },
    reconnect() {
      isDisconnected = false;
      for (const socket of [...sockets]) socket.closeIfDead();
    },
    isHeld: () => sockets.size > 0,
    heardAt: () => heardAt,
    heartbeatAt: () => heartbeatAt,
    freeze() {
      for (const socket of sockets) socket.frozen = true;
    },
  };
}
