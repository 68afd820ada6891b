/** The public API of the package. */
export type PresenceClient = import("./client.js").PresenceClient;
export type PresenceClientOptions = import("./client.js").PresenceClientOptions;
export type PresenceState = import("./store.js").PresenceState;
export type PresenceStore = import("./store.js").PresenceStore;
/** @typedef {import("./client.js").PresenceClient} PresenceClient */
/** @typedef {import("./client.js").PresenceClientOptions} PresenceClientOptions */
/** @typedef {import("./store.js").PresenceState} PresenceState */
/** @typedef {import("./store.js").PresenceStore} PresenceStore */
export { createPresenceClient } from "./client.js";
export { createPresenceStore } from "./store.js";
