/** One user's people, live. */

import { createPresenceClient } from "../greendot/index.js";
import { CLOSE } from "../greendot/protocol.js";
import { showConnection } from "./connection.js";
import { followPeople } from "./people.js";
import { element, fillAvatars, personRow } from "./person.js";

/** @typedef {import("./people.js").People} People */
/** @typedef {import("./person.js").Person} Person */

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

const me = /** @type {HTMLElement} */ (document.querySelector("[data-me]"));
const client = createPresenceClient({
  user: me.dataset["me"] ?? "",
  onDenied: (code) => {
    // Signed out elsewhere: the page says so. Who is forbidden would be so again.
    if (code === CLOSE.NOT_AUTHENTICATED) location.reload();
  },
});
const { store } = client;

/** @type {Array<() => void>} */
let stops = [];
/** @type {Person[]} */
let friends = [];
let leaving = false;

/** @param {People} known */
function draw({ people, conversations }) {
  for (const stop of stops) stop();
  stops = [];
  friends = people.filter(({ friend }) => friend);
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
  const { isOnline, stale } = store.getState();
  const online = friends.filter(({ id }) => isOnline(id)).length;
  const text = stale || friends.length === 0 ? "" : `${online} of ${friends.length} online`;
  byId("friends-count").textContent = text;
}

const people = followPeople(store, {
  load: () => fetch("/demo/people"),
  draw,
  tell: (name, online) => {
    byId("news").textContent = `${name} ${online ? "is online" : "went offline"}`;
  },
});

byId("sign-out").addEventListener("submit", async (event) => {
  event.preventDefault();
  leaving = true;
  const form = /** @type {HTMLFormElement} */ (event.target);
  await client.leave(); // before the cookie is gone: offline at once, without grace
  form.submit();
});

/** Signed out in another window: this page is nobody's any more. */
async function lookWhoWeAre() {
  if (store.getState().connection !== "offline" || leaving) return;
  const answer = await fetch("/demo/people").catch(() => null);
  if (answer?.status === 401) location.reload();
}
addEventListener("focus", lookWhoWeAre);
store.subscribe(({ connection }, previous) => {
  // The other window first says that it leaves, and then signs out.
  if (connection !== previous.connection) setTimeout(lookWhoWeAre, 1_000);
});

fillAvatars();
showConnection(store, byId("connection"));
store.subscribe(count);
void people.reload();
