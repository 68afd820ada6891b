/**
 * What the browser knows of the whole device, by the Idle Detection API (Chromium): whether
 * anybody uses it, also in other applications, and whether the screen is locked. The user must
 * have allowed it. This file never asks for the permission: only the application knows when a
 * question makes sense.
 */
export type DeviceState = {
    inUse: boolean;
    locked: boolean;
};
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
export declare function watchDevice(threshold: number, onChange: (state: DeviceState) => void): () => void;
