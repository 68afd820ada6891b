/** One user of the side-by-side page: a client of its own, and what can be done to it. */

import { createPresenceClient } from "../greendot/index.js";
import { createCable } from "./cable.js";
import { showConnection } from "./connection.js";
import { fillAvatars, element, personRow } from "./person.js";
import { followPeople } from "./people.js";

/** @typedef {import("./people.js").People} People */
/** @typedef {import("./person.js").Person} Person */
/** @typedef {{id: string, display_name: string}} User */

/**
 * @typedef {object} Surroundings
 * @property {HTMLTemplateElement} template
 * @property {User[]} users everybody there is
 * @property {(name: string, direction: "in" | "out" | "end", what: string, data: unknown) => void} log
 * @property {() => void} onGraphChanged
 * @property {(text: string) => void} announce
 */

/**
 * @param {User} user
 * @param {Surroundings} around
 */
export function createPanel(user, { template, users, log, onGraphChanged, announce }) {
  const copy = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
  const root = /** @type {HTMLElement} */ (copy.firstElementChild);
  /** @param {string} selector */
  const find = (selector) => /** @type {HTMLElement} */ (root.querySelector(selector));
  root.dataset["user"] = user.id;
  root.setAttribute("aria-label", user.display_name);
  find(".avatar").dataset["initialsOf"] = user.display_name;
  find(".name").textContent = user.display_name;

  const cable = createCable();
  const client = createPresenceClient({
    token,
    share: false, // a cable of its own is the point here
    fetch: cable.fetch,
    WebSocket: cable.WebSocket,
    onFrame: ({ event, data }, direction) => log(user.display_name, direction, event, data),
    onClose: (code, retryIn) => log(user.display_name, "end", `close ${code}`, next(retryIn)),
    onDenied: (code) => announce(`The server refuses ${user.display_name}: ${code}`),
  });
  const { store } = client;

  async function token() {
    const response = await cable.fetch("/demo/token", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ user_id: user.id }),
    });
    return /** @type {string} */ ((await response.json()).data.token);
  }

  // Names are the host application's affair: they do not go through the cable.
  async function load() {
    const issued = await token();
    return fetch("/demo/people", {
      headers: { Authorization: `Bearer ${issued}` },
      credentials: "omit",
    });
  }

  /** @type {Array<() => void>} */
  let stops = [];

  /** @param {People} known */
  function draw({ people }) {
    for (const stop of stops) stop();
    stops = [];
    find(".people").replaceChildren(...people.map(row));
    find(".empty").hidden = people.length > 0;
    const taken = new Set([user.id, ...people.filter((p) => p.friend).map((p) => p.id)]);
    const free = users.filter(({ id }) => !taken.has(id));
    const choice = find("select");
    choice.replaceChildren(
      ...free.map(({ id, display_name }) => new Option(display_name, id)),
    );
    find(".befriend").hidden = free.length === 0;
  }

  /** @param {Person} person */
  function row(person) {
    const { row: made, stop } = personRow(store, person);
    stops.push(stop);
    if (person.friend) {
      const end = element("button", "quiet small", "Unfriend");
      end.setAttribute("aria-label", `Unfriend ${person.display_name}`);
      end.addEventListener("click", () => void befriend("DELETE", person.id));
      made.append(end);
    } else {
      made.append(element("span", "relation", "conversation"));
    }
    return made;
  }

  /**
   * @param {"PUT" | "DELETE"} method
   * @param {string} other
   */
  async function befriend(method, other) {
    await fetch(`/demo/friendships/${encodeURIComponent(user.id)}/${encodeURIComponent(other)}`, {
      method,
    });
    onGraphChanged();
  }

  const people = followPeople(store, { load, draw });

  const cut = find("[data-act=cut]");
  let isCut = false;
  /** @type {Record<string, () => void>} */
  const acts = {
    connect: client.connect,
    leave: () => void client.leave(),
    close: client.close,
    freeze() {
      cable.freeze();
      announce(`${user.display_name}'s page sends no more heartbeats`);
    },
    cut() {
      isCut = !isCut;
      if (isCut) cable.cut();
      else cable.plug();
      cut.setAttribute("aria-pressed", String(isCut));
      root.toggleAttribute("data-cut", isCut);
      if (!isCut) client.retryNow();
    },
  };
  root.addEventListener("click", ({ target }) => {
    const button = target instanceof Element ? target.closest("[data-act]") : null;
    if (button instanceof HTMLElement) acts[button.dataset["act"] ?? ""]?.();
  });
  find(".befriend").addEventListener("submit", (event) => {
    event.preventDefault();
    const choice = /** @type {HTMLSelectElement} */ (find("select"));
    void befriend("PUT", choice.value);
  });

  // What makes no sense now cannot be pressed.
  const enable = () => {
    const away = store.getState().connection === "offline";
    for (const button of root.querySelectorAll("[data-act]")) {
      const act = button.getAttribute("data-act");
      const senseless = act === "connect" ? !away : act !== "cut" && away;
      button.toggleAttribute("disabled", senseless);
    }
  };
  enable();
  store.subscribe(enable);
  showConnection(store, find(".connection"));
  fillAvatars(root);
  void people.reload();

  return { root, client, reload: people.reload };
}

/** @param {number | null} retryIn */
const next = (retryIn) =>
  retryIn === null ? "no retry" : `next try in ${Math.round(retryIn)} ms`;
