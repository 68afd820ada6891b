/** The public API of the package. */
export type PresenceClient = import("./client.js").PresenceClient;
export type PresenceClientOptions = import("./client.js").PresenceClientOptions;
export type Availability = import("./detail.js").Availability;
export type Detail = import("./detail.js").Detail;
export type MyPresence = import("./my-presence.js").MyPresence;
export type MyPresenceChanges = import("./my-presence.js").MyPresenceChanges;
export type PresenceState = import("./store.js").PresenceState;
export type PresenceStore = import("./store.js").PresenceStore;
/** @typedef {import("./client.js").PresenceClient} PresenceClient */
/** @typedef {import("./client.js").PresenceClientOptions} PresenceClientOptions */
/** @typedef {import("./detail.js").Availability} Availability */
/** @typedef {import("./detail.js").Detail} Detail */
/** @typedef {import("./my-presence.js").MyPresence} MyPresence */
/** @typedef {import("./my-presence.js").MyPresenceChanges} MyPresenceChanges */
/** @typedef {import("./store.js").PresenceState} PresenceState */
/** @typedef {import("./store.js").PresenceStore} PresenceStore */
export { createPresenceClient } from "./client.js";
export { PresenceHttpError } from "./errors.js";
export { createPresenceStore } from "./store.js";
