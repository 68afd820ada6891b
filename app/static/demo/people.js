/** Loads the names of the users in a store, and loads them again when the users change. */

import { getOwn, hasOwn } from "../greendot/store.js";
import { LABELS } from "./look.js";

/** @typedef {import("../greendot/store.js").PresenceState} PresenceState */
/** @typedef {import("../greendot/store.js").PresenceStore} PresenceStore */
/** @typedef {import("./elements.js").Person} Person */
/** @typedef {{id: string, title: string, participants: string[]}} Conversation */
/** @typedef {{people: Person[], conversations: Conversation[]}} People */

/**
 * Load the names again when the store gets a user without a name, or drops a user. Either means
 * that a friendship or a conversation has begun or ended.
 *
 * @param {PresenceStore} store
 * @param {object} options
 * @param {() => Promise<Response>} options.load requests `/demo/people`
 * @param {(people: People) => void} options.draw
 * @param {(text: string) => void} [options.announce] says what has changed, such as "Ada is online"
 * @returns {{reload: () => Promise<void>, stop: () => void}}
 */
export function followPeople(store, { load, draw, announce }) {
  /** @type {Map<string, string>} */
  let names = new Map();
  let requests = 0;

  async function reload() {
    requests += 1;
    const request = requests;
    const response = await load().catch(() => null);
    if (!response?.ok || request !== requests) return;
    /** @type {People} */
    const people = (await response.json()).data;
    if (request !== requests) return;
    names = new Map(people.people.map(({ id, display_name }) => [id, display_name]));
    draw(people);
  }

  const unsubscribe = store.subscribe((state, previous) => {
    if (!state.stale) announceDetails(state, previous);
    if (state.statuses === previous.statuses) return;
    let changed = false;
    for (const [id, online] of Object.entries(state.statuses)) {
      const before = getOwn(previous.statuses, id);
      if (!names.has(id)) changed = true;
      else if (before !== undefined && before !== online && !state.stale) {
        announce?.(`${names.get(id) ?? id} ${online ? "is online" : "went offline"}`);
      }
    }
    for (const id of Object.keys(previous.statuses)) {
      if (!hasOwn(state.statuses, id)) changed = true;
    }
    if (changed) void reload();
  });

  /**
   * @param {PresenceState} state
   * @param {PresenceState} previous
   */
  function announceDetails({ details }, previous) {
    if (announce === undefined || details === previous.details) return;
    for (const [id, name] of names) {
      const now = getOwn(details, id)?.availability;
      const before = getOwn(previous.details, id)?.availability;
      if (now === undefined || before === undefined || now === before) continue;
      announce(`${name}: ${now === "active" ? LABELS.online : LABELS[now]}`);
    }
  }

  return { reload, stop: unsubscribe };
}
