/**
 * The signed-in user's own settings: which users see this user, and what they see. The settings
 * are read and changed by REST. After each change, on any device, the server sends an event to all
 * of them.
 */

/** @typedef {import("./detail.js").Availability} Availability */
/** @typedef {import("./detail.js").Detail} Detail */
/** @typedef {import("./store.js").PresenceStore} PresenceStore */
/** @typedef {"everyone" | "friends" | "nobody"} Viewers */

/**
 * @typedef {object} MyPresenceSettings
 * @property {Viewers} visibility the users that see whether this user is online
 * @property {Viewers} last_seen the users that see when this user was last there
 * @property {{always: string[], never: string[]}} exceptions users who always see whether
 *   this user is online, and users who never do
 * @property {Availability | null} availability set by hand. In a change, `active` and null both
 *   take the value back
 * @property {string | null} text one line of at most 140 characters
 * @property {string | null} emoji a single one
 * @property {number | null} expires_at when the three values above end, in milliseconds since the
 *   epoch
 */

/**
 * @typedef {MyPresenceSettings & {status: string, detail: Detail | null}} MyPresence the settings,
 *   and what they make of the user's real status
 */

/**
 * @typedef {{
 *   [Name in keyof MyPresenceSettings]?: MyPresenceSettings[Name] | null
 * }} MyPresenceChanges null sets a value back to its default
 */

/**
 * @typedef {object} Calls
 * @property {() => Promise<MyPresence>} myPresence
 * @property {(changes: MyPresenceChanges) => Promise<MyPresence>} changeMyPresence
 */

/**
 * @param {PresenceStore} store
 * @param {object} options
 * @param {() => Calls} options.createCalls throws if the URL of the server is wrong
 * @param {(mine: MyPresence) => void} options.onLoaded called with each answer that the store has
 *   taken
 */
export function createMyPresence(store, { createCalls, onLoaded }) {
  /** @type {Promise<unknown>} */
  let previous = Promise.resolve();
  /** @type {Promise<MyPresence> | null} */
  let loading = null;
  /** @type {MyPresence | null} what the store had when events ceased */
  let outdated = null;
  store.subscribe((state, before) => {
    const hasEnded = before.connection === "live" && state.connection !== "live";
    if (hasEnded) outdated = state.myPresence;
  });

  /**
   * Run the calls one after the other, so that the last answer is also the newest.
   *
   * @param {(calls: Calls) => Promise<MyPresence>} request
   * @returns {Promise<MyPresence>}
   */
  function enqueue(request) {
    const answer = previous.then(async () => {
      const known = store.getState().myPresence;
      const mine = await request(createCalls());
      // If an event came while the call ran, the store has this answer's state or a newer one, or
      // the event of this change will follow.
      if (store.getState().myPresence === known) {
        store.setState({ myPresence: mine });
        onLoaded(mine);
      }
      return mine;
    });
    previous = answer.catch(() => {});
    return answer;
  }

  function load() {
    loading ??= enqueue((calls) => calls.myPresence()).finally(() => (loading = null));
    return loading;
  }

  return {
    load,
    /** @param {MyPresenceChanges} changes */
    change: (changes) => enqueue((calls) => calls.changeMyPresence(changes)),
    /** Events come again. If the store still has the old settings, read them again. */
    onSnapshot() {
      const isOld = outdated !== null && outdated === store.getState().myPresence;
      outdated = null;
      if (isOld) load().catch(() => {}); // the next connection tries again
    },
  };
}
