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
 * @property {() => void} freeze stop the heartbeats of the open sockets. The page is answered as
 *   if they had been sent
 */

/** @returns {SimulatedNetwork} */
export function createSimulatedNetwork() {
  let isDisconnected = false;
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
      };
      for (const type of ["open", "message", "error", "close"]) {
        this.addEventListener(type, dropEvent);
      }
    }

    /** @param {string} data */
    send(data) {
      if (isDisconnected || this.dead) return;
      if (this.frozen && decode(data)?.event === TO_SERVER.HEARTBEAT) {
        const answer = encode(FROM_SERVER.HEARTBEAT_ACK, { timestamp: Date.now() });
        this.dispatchEvent(new MessageEvent("message", { data: answer }));
        return;
      }
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
    freeze() {
      for (const socket of sockets) socket.frozen = true;
    },
  };
}
