/** Keeps a page's knowledge of names in step with its presence store. */

import { has, of } from "../greendot/store.js";

/** @typedef {import("../greendot/store.js").PresenceStore} PresenceStore */
/** @typedef {import("./person.js").Person} Person */
/** @typedef {{id: string, title: string, participants: string[]}} Conversation */
/** @typedef {{people: Person[], conversations: Conversation[]}} People */

/**
 * Load names now, and again whenever the store learns of somebody unknown or drops
 * somebody known: that is how a friendship's beginning and end arrive.
 *
 * @param {PresenceStore} store
 * @param {object} how
 * @param {() => Promise<Response>} how.load answers as `/demo/people` does
 * @param {(people: People) => void} how.draw
 * @param {(name: string, online: boolean) => void} [how.tell] somebody came or went
 * @returns {{reload: () => Promise<void>, stop: () => void}}
 */
export function followPeople(store, { load, draw, tell }) {
  /** @type {Map<string, string>} */
  let names = new Map();
  let asked = 0;

  async function reload() {
    asked += 1;
    const mine = asked;
    const response = await load().catch(() => null);
    if (!response?.ok || mine !== asked) return;
    /** @type {People} */
    const people = (await response.json()).data;
    if (mine !== asked) return;
    names = new Map(people.people.map(({ id, display_name }) => [id, display_name]));
    draw(people);
  }

  const unsubscribe = store.subscribe((state, previous) => {
    if (state.statuses === previous.statuses) return;
    let changed = false;
    for (const [id, online] of Object.entries(state.statuses)) {
      const before = of(previous.statuses, id);
      if (!names.has(id)) changed = true;
      else if (before !== undefined && before !== online && !state.stale) {
        tell?.(names.get(id) ?? id, online);
      }
    }
    for (const id of Object.keys(previous.statuses)) {
      if (!has(state.statuses, id)) changed = true;
    }
    if (changed) void reload();
  });

  return { reload, stop: unsubscribe };
}
