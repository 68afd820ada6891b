/**
 * One socket's life: open, welcome, heartbeats, and the end, of which there is exactly
 * one. It never tries again; client.js does.
 */
export type Frame = import("./protocol.js").Frame;
export type SocketHandlers = {
    onFrame: (frame: Frame) => void;
    /**
     * true: nothing was heard for a heartbeat
     * interval, so what was heard before is no longer vouched for; false: heard again
     */
    onQuiet: (quiet: boolean) => void;
    /**
     * the last call that is ever
     * made
     */
    onClosed: (code: number, reason: string) => void;
    onSent: (frame: Frame) => void;
};
export type PresenceSocket = {
    /**
     * ask for a sign of life now, or give up at
     * once after a sleep that no connection outlives
     */
    check: (slept: number) => void;
    /**
     * what was heard may no longer hold: ask for a sign of life
     */
    doubt: () => void;
    /**
     * say goodbye and close
     */
    leave: () => Promise<void>;
    /**
     * close without goodbye
     */
    cut: (code: number) => void;
};
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
export declare function openSocket(url: string, WebSocketClass: typeof WebSocket, handlers: SocketHandlers): PresenceSocket;
