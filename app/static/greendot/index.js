/** What an application imports. */

export { createPresenceClient } from "./client.js";
export { createPresenceStore } from "./store.js";
