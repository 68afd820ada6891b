/**
 * Whether the person is there, from the signs of all tabs, and when the server is told. Every
 * tab collects signs and passes them to the others. Only the tab that has the socket decides, and
 * reports to the server.
 */
import { after } from "./timers.js";
export type Signs = {
    /**
     * false: nothing is found out, only `byHand` counts
     */
    detects: boolean;
    /**
     * what the application says; it wins over everything else
     */
    byHand: boolean | null;
    /**
     * in any tab
     */
    lastInputAt: number;
    /**
     * a phone shows none of the tabs
     */
    putAway: boolean;
    /**
     * when the screen was locked; 0: it is not
     */
    lockedAt: number;
    /**
     * the browser sees that somebody uses the device
     */
    inUse: boolean;
};
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
export declare function idleFrom(signs: Signs, idleAfter: number): number;
/**
 * @param {{idle: boolean, at: number}} last what this connection has reported, and when. A new
 *   connection is not idle and has reported nothing: `at` is -Infinity
 * @param {boolean} idle
 * @returns {number} when to report `idle`; Infinity: the server knows it
 */
export declare function reportFrom(last: {
    idle: boolean;
    at: number;
}, idle: boolean): number;
export type ActivityMessage = {
    lastInputAt?: number;
    /**
     * whether the tab that sends it is shown
     */
    shown?: boolean;
    byHand?: boolean | null;
    /**
     * milliseconds, as the server says
     */
    idleAfter?: number;
};
export type Idle = ReturnType<typeof createIdle>;
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
export declare function createIdle({ detects, send, post, schedule }: {
    detects: boolean;
    send: (idle: boolean) => boolean;
    post: (message: ActivityMessage) => void;
    schedule?: typeof after;
}): {
    start: () => void;
    stop: () => void;
    announce: () => void;
    /**
     * This tab has a new socket.
     *
     * @param {number} seconds `idle_after`; NaN: this server does not take reports
     */
    onWelcome(seconds: number): void;
    /**
     * @param {string} tab that has sent it
     * @param {ActivityMessage} message
     */
    receive(tab: string, message: ActivityMessage): void;
    /** @param {boolean | null} idle null: find it out again */
    setIdle(idle: boolean | null): void;
};
