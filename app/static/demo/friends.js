/** One user's people, live. */

import { createPresenceClient } from "../greendot/index.js";
import { showConnection } from "./connection.js";
import { element, fillAvatars, personRow } from "./person.js";

/** @typedef {import("./person.js").Person} Person */
/** @typedef {{id: string, title: string, participants: string[]}} Conversation */
/** @typedef {{people: Person[], conversations: Conversation[]}} People */

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

const client = createPresenceClient({
  onDenied: () => location.reload(), // signed out elsewhere: the page says so
});
const { store } = client;

/** @type {Map<string, string>} */
const names = new Map();
/** @type {Array<() => void>} */
let stops = [];

/** @param {People} known */
function draw({ people, conversations }) {
  for (const stop of stops) stop();
  stops = [];
  names.clear();
  for (const person of people) names.set(person.id, person.display_name);

  const friends = people.filter(({ friend }) => friend);
  byId("friends").replaceChildren(...friends.map(row));
  byId("no-friends").hidden = friends.length > 0;

  const known = new Map(people.map((person) => [person.id, person]));
  byId("conversations").replaceChildren(
    ...conversations.map(({ title, participants }) => {
      const part = element("section", "conversation");
      const list = element("ul", "people");
      for (const id of participants) {
        const person = known.get(id);
        if (person !== undefined) list.append(row(person));
      }
      part.append(element("h3", "", title), list);
      return part;
    }),
  );
  byId("no-conversations").hidden = conversations.length > 0;
  count();
}

/** @param {Person} person */
function row(person) {
  const { row: made, stop } = personRow(store, person);
  stops.push(stop);
  return made;
}

function count() {
  const rows = [...byId("friends").children];
  const online = rows.filter((row) => store.getState().isOnline(rowId(row))).length;
  const text = store.getState().stale ? "" : `${online} of ${rows.length} online`;
  byId("friends-count").textContent = text;
}

/** @param {Element} row */
const rowId = (row) => /** @type {HTMLElement} */ (row).dataset["user"] ?? "";

async function loadPeople() {
  const response = await fetch("/demo/people");
  if (!response.ok) return;
  draw((await response.json()).data);
}

store.subscribe((state, previous) => {
  count();
  if (state.stale || previous.stale) return; // news is what came while we listened
  for (const [id, online] of Object.entries(state.statuses)) {
    const before = previous.statuses[id];
    if (before === online) continue;
    if (!names.has(id)) void loadPeople(); // a new friend: ask for the name
    else if (before !== undefined) tell(id, online);
  }
  if (Object.keys(previous.statuses).some((id) => !Object.hasOwn(state.statuses, id))) {
    void loadPeople(); // somebody is no longer a friend
  }
});

/**
 * @param {string} id
 * @param {boolean} online
 */
function tell(id, online) {
  const name = names.get(id) ?? id;
  byId("news").textContent = online ? `${name} is online` : `${name} went offline`;
}

byId("sign-out").addEventListener("submit", async (event) => {
  event.preventDefault();
  await client.leave(); // before the cookie is gone: offline at once, without grace
  /** @type {HTMLFormElement} */ (event.target).submit();
});

fillAvatars();
showConnection(store, byId("connection"));
void loadPeople();
