/**
 * One socket from open to close: the welcome, the heartbeats, and the one `onClosed` call at its
 * end. It never reconnects. connection.js does.
 */
export type Frame = import("./protocol.js").Frame;
export type SocketHandlers = {
    onFrame: (frame: Frame) => void;
    /**
     * true: no frame came for one heartbeat
     * interval, so the known statuses are stale; false: frames come again
     */
    onSilence: (silent: boolean) => void;
    /**
     * the last of all calls
     */
    onClosed: (code: number, reason: string) => void;
    onSent: (frame: Frame) => void;
};
export type PresenceSocket = {
    /**
     * send a heartbeat now if the last frame came long
     * ago. After a sleep that no connection survives, close immediately
     */
    check: (slept: number) => void;
    /**
     * report silence now, and send a heartbeat to check
     */
    suspect: () => void;
    /**
     * false: the socket is
     * not open
     */
    send: (event: string, data: Record<string, unknown>) => boolean;
    /**
     * send `leave` and close
     */
    leave: () => Promise<void>;
    /**
     * close without `leave`
     */
    close: (code: number) => void;
};
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
export declare function openSocket(url: string, WebSocketClass: typeof WebSocket, handlers: SocketHandlers): PresenceSocket;
