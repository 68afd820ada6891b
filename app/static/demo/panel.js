/** One user of the side-by-side page: its own client, its list and its buttons. */

import { createPresenceClient } from "../greendot/index.js";
import { FROM_SERVER, TO_SERVER } from "../greendot/protocol.js";
import { element, fillAvatars, personRow, showConnection } from "./elements.js";
import { createOwnPresence } from "./own-presence.js";
import { followPeople } from "./people.js";
import { createSimulatedNetwork } from "./simulated-network.js";

/** @typedef {import("./people.js").People} People */
/** @typedef {import("./elements.js").Person} Person */
/** @typedef {{id: string, display_name: string}} User */

/**
 * @typedef {object} PageContext
 * @property {HTMLTemplateElement} template
 * @property {User[]} users all demo users
 * @property {(name: string, direction: "in" | "out" | "end", what: string, data: unknown) => void} log
 * @property {() => void} onGraphChanged
 * @property {(text: string) => void} announce
 */

/**
 * @param {User} user
 * @param {PageContext} context
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

  const network = createSimulatedNetwork();
  const client = createPresenceClient({
    token,
    share: false, // each panel has its own network, so also its own socket
    idle: false, // input in this window is no sign of one of its users
    fetch: network.fetch,
    WebSocket: network.WebSocket,
    onFrame({ event, data }, direction) {
      log(user.display_name, direction, event, data);
      // A new connection counts as active until the client reports again.
      if (event === FROM_SERVER.WELCOME) noteReport(false);
      if (event === TO_SERVER.ACTIVITY) noteReport(data["idle"] === true);
    },
    onClose: (code, retryIn) => log(user.display_name, "end", `close ${code}`, nextAttempt(retryIn)),
    onDenied: (code) => announce(`The server denied access to ${user.display_name}: ${code}`),
  });
  const { store } = client;

  async function token() {
    const response = await network.fetch("/demo/token", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ user_id: user.id }),
    });
    return /** @type {string} */ ((await response.json()).data.token);
  }

  // Names come from the host application, so they do not use the simulated network.
  async function load() {
    const jwt = await token();
    return fetch("/demo/people", {
      headers: { Authorization: `Bearer ${jwt}` },
      credentials: "omit",
    });
  }

  /** @type {User[]} */
  let known = [];
  const own = createOwnPresence(client, user.display_name, {
    people: () => known,
    nameOf: (id) => users.find((other) => other.id === id)?.display_name ?? id,
  });
  find(".panel > header").after(own.root);
  let isAway = false;
  let isReported = false;

  /** @param {boolean} idle what the client has reported to the server */
  function noteReport(idle) {
    isReported = idle;
    own.showIdle(isAway, isReported);
  }

  /** @type {Array<() => void>} */
  let stops = [];

  /** @param {People} loaded */
  function draw({ people }) {
    known = people;
    for (const stop of stops) stop();
    stops = [];
    find(".people").replaceChildren(...people.map(row));
    find(".empty").hidden = people.length > 0;
    const taken = new Set([user.id, ...people.filter((p) => p.friend).map((p) => p.id)]);
    const free = users.filter(({ id }) => !taken.has(id));
    const choice = find(".befriend select");
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
      const unfriend = element("button", "secondary small", "Unfriend");
      unfriend.setAttribute("aria-label", `Unfriend ${person.display_name}`);
      unfriend.addEventListener("click", () => void changeFriendship("DELETE", person.id));
      made.append(unfriend);
    } else {
      made.append(element("span", "relation", "conversation"));
    }
    return made;
  }

  /**
   * @param {"PUT" | "DELETE"} method
   * @param {string} other
   */
  async function changeFriendship(method, other) {
    await fetch(`/demo/friendships/${encodeURIComponent(user.id)}/${encodeURIComponent(other)}`, {
      method,
    });
    onGraphChanged();
  }

  const people = followPeople(store, { load, draw });

  const cutButton = find("[data-action=cut]");
  let isCut = false;
  /** @type {Record<string, () => void>} */
  const actions = {
    connect: client.connect,
    leave: () => void client.leave(),
    close: client.close,
    freeze() {
      network.freeze();
      announce(`The page of ${user.display_name} has stopped its heartbeats`);
    },
    away() {
      isAway = !isAway;
      client.setIdle(isAway);
      find("[data-action=away]").setAttribute("aria-pressed", String(isAway));
      own.showIdle(isAway, isReported);
    },
    cut() {
      isCut = !isCut;
      if (isCut) network.disconnect();
      else network.reconnect();
      cutButton.setAttribute("aria-pressed", String(isCut));
      root.toggleAttribute("data-cut", isCut);
      if (!isCut) client.retryNow();
    },
  };
  root.addEventListener("click", ({ target }) => {
    const button = target instanceof Element ? target.closest("[data-action]") : null;
    if (button instanceof HTMLElement) actions[button.dataset["action"] ?? ""]?.();
  });
  find(".befriend").addEventListener("submit", (event) => {
    event.preventDefault();
    const choice = /** @type {HTMLSelectElement} */ (find(".befriend select"));
    void changeFriendship("PUT", choice.value);
  });

  // Disable the buttons that do nothing in the current state.
  const updateButtons = () => {
    const isOffline = store.getState().connection === "offline";
    for (const button of root.querySelectorAll("[data-action]")) {
      const action = button.getAttribute("data-action");
      const isUseless = action === "connect" ? !isOffline : action !== "cut" && isOffline;
      button.toggleAttribute("disabled", isUseless);
    }
  };
  updateButtons();
  store.subscribe(updateButtons);
  showConnection(store, find(".connection"));
  fillAvatars(root);
  void people.reload();

  return {
    root,
    reload: people.reload,
    remove() {
      own.stop();
      client.close();
      root.remove();
    },
  };
}

/** @param {number | null} retryIn */
const nextAttempt = (retryIn) =>
  retryIn === null ? "no retry" : `next attempt in ${Math.round(retryIn)} ms`;
