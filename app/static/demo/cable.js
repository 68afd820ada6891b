/**
 * A cable that can be cut: what a browser's own WebSocket cannot do. Closing a socket
 * always sends a close frame; a cut cable sends nothing more, and the server has only
 * silence to go by.
 */

import { FROM_SERVER, TO_SERVER, decode, encode } from "../greendot/protocol.js";

/**
 * @typedef {object} Cable
 * @property {typeof WebSocket} WebSocket for the client's option of this name
 * @property {typeof fetch} fetch likewise
 * @property {() => void} cut from now on nothing passes, in neither direction
 * @property {() => void} plug everything passes again; what was cut off stays dead
 * @property {() => void} freeze the present sockets send no heartbeat any more, and
 *   the page does not know it
 */

/** @returns {Cable} */
export function createCable() {
  let isCut = false;
  /** @type {Set<CableSocket>} */
  const sockets = new Set();

  class CableSocket extends WebSocket {
    dead = false;
    frozen = false;

    /** @param {string | URL} url */
    constructor(url) {
      super(url);
      sockets.add(this);
      // First listeners: they stand before those that the client sets.
      /** @param {Event} event */
      const gate = (event) => {
        if (event.type === "close") sockets.delete(this);
        if (isCut || this.dead) event.stopImmediatePropagation();
      };
      for (const type of ["open", "message", "error", "close"]) {
        this.addEventListener(type, gate);
      }
    }

    /** @param {string} data */
    send(data) {
      if (isCut || this.dead) return;
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
      if (isCut) this.dead = true; // the close frame does not get through either
      else super.close(code, reason);
    }

    /** What the operating systems do on both sides once they reach each other again. */
    bury() {
      if (this.dead) super.close();
    }
  }

  return {
    WebSocket: CableSocket,
    fetch: (input, init) =>
      isCut ? Promise.reject(new TypeError("the cable is cut")) : fetch(input, init),
    cut() {
      isCut = true;
    },
    plug() {
      isCut = false;
      for (const socket of [...sockets]) socket.bury();
    },
    freeze() {
      for (const socket of sockets) socket.frozen = true;
    },
  };
}
