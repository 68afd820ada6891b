/** The public API of the package. */

/** @typedef {import("./client.js").PresenceClient} PresenceClient */
/** @typedef {import("./client.js").PresenceClientOptions} PresenceClientOptions */
/** @typedef {import("./store.js").PresenceState} PresenceState */
/** @typedef {import("./store.js").PresenceStore} PresenceStore */

export { createPresenceClient } from "./client.js";
export { createPresenceStore } from "./store.js";
