/** The line that says how this page's own connection is. */

/** @typedef {import("../greendot/store.js").PresenceStore} PresenceStore */

const WORDS = {
  live: "Live",
  reconnecting: "Reconnecting…",
  offline: "Offline",
};

/**
 * @param {PresenceStore} store
 * @param {HTMLElement} line has a `.text` in it
 */
export function showConnection(store, line) {
  const text = /** @type {HTMLElement} */ (line.querySelector(".text"));
  let settled = false;
  const show = () => {
    const { connection } = store.getState();
    settled ||= connection === "live";
    line.dataset["connection"] = connection;
    const words = settled || connection === "offline" ? WORDS[connection] : "Connecting…";
    if (text.textContent !== words) text.textContent = words;
  };
  show();
  store.subscribe((state, previous) => {
    if (state.connection !== previous.connection) show();
  });
}
