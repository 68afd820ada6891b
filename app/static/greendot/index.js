/** The public API of the package. */

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
