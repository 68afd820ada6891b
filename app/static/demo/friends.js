/** The page of one user: friends and conversations, with live presence. */

import { createPresenceClient } from "../greendot/index.js";
import { CLOSE } from "../greendot/protocol.js";
import { element, fillAvatars, personRow, showConnection } from "./elements.js";
import { createOwnPresence } from "./own-presence.js";
import { followPeople } from "./people.js";

/** @typedef {import("./people.js").People} People */
/** @typedef {import("./elements.js").Person} Person */

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

const me = /** @type {HTMLElement} */ (document.querySelector("[data-me]"));
const client = createPresenceClient({
  user: me.dataset["me"] ?? "",
  onDenied: (code) => {
    // The user has signed out elsewhere: show the sign-in page. After 4403 a reload would only
    // be denied again.
    if (code === CLOSE.NOT_AUTHENTICATED) location.reload();
  },
});
const { store } = client;

/** @type {Array<() => void>} */
let stops = [];
/** @type {Person[]} */
let friends = [];
/** @type {Person[]} */
let known = [];
let leaving = false;

/** @param {People} loaded */
function draw({ people, conversations }) {
  for (const stop of stops) stop();
  stops = [];
  known = people;
  friends = people.filter(({ friend }) => friend);
  byId("friends").replaceChildren(...friends.map(row));
  byId("no-friends").hidden = friends.length > 0;

  const byUserId = new Map(people.map((person) => [person.id, person]));
  byId("conversations").replaceChildren(
    ...conversations.map(({ title, participants }) => {
      const section = element("section", "conversation");
      const list = element("ul", "people");
      for (const id of participants) {
        const person = byUserId.get(id);
        if (person !== undefined) list.append(row(person));
      }
      section.append(element("h3", "", title), list);
      return section;
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
  const { isOnline, stale } = store.getState();
  const online = friends.filter(({ id }) => isOnline(id)).length;
  const text = stale || friends.length === 0 ? "" : `${online} of ${friends.length} online`;
  byId("friends-count").textContent = text;
}

const people = followPeople(store, {
  load: () => fetch("/demo/people"),
  draw,
  announce: (text) => {
    byId("news").textContent = text;
  },
});

byId("sign-out").addEventListener("submit", async (event) => {
  event.preventDefault();
  leaving = true;
  const form = /** @type {HTMLFormElement} */ (event.target);
  await client.leave(); // while the cookie still exists: offline immediately, without grace
  form.submit();
});

/** Show the sign-in page if the user has signed out in another window. */
async function checkSignedIn() {
  if (store.getState().connection !== "offline" || leaving) return;
  const response = await fetch("/demo/people").catch(() => null);
  if (response?.status === 401) location.reload();
}
addEventListener("focus", checkSignedIn);
store.subscribe(({ connection }, previous) => {
  // The other window first sends `leave`, and signs out a moment later.
  if (connection !== previous.connection) setTimeout(checkSignedIn, 1_000);
});

const own = createOwnPresence(client, me.dataset["name"] ?? "", {
  people: () => known,
  nameOf: (id) => known.find((person) => person.id === id)?.display_name ?? id,
});
me.after(own.root);

fillAvatars();
showConnection(store, byId("connection"));
store.subscribe(count);
void people.reload();
