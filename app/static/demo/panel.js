/** One user of the front page: its own client, its list and its buttons. */

import { createPresenceClient } from "../greendot/index.js";
import { FROM_SERVER, TO_SERVER } from "../greendot/protocol.js";
import { createCountdown } from "./countdown.js";
import { element, fillAvatars, personRow, showConnection } from "./elements.js";
import { choiceOf, createOwnPresence } from "./own-presence.js";
import { followPeople } from "./people.js";
import { createSimulatedNetwork } from "./simulated-network.js";

/** @typedef {import("./people.js").People} People */
/** @typedef {import("./elements.js").Person} Person */
/** @typedef {{id: string, display_name: string}} User */
/** @typedef {{heartbeat: number, ttl: number, grace: number}} Times settings, in seconds */

/**
 * @typedef {object} PageContext
 * @property {HTMLTemplateElement} template
 * @property {User[]} users all demo users
 * @property {Times} times
 * @property {(name: string, direction: "in" | "out" | "end", what: string, data: unknown) => void} log
 * @property {() => void} onGraphChanged
 * @property {(action: string) => void} onAction
 * @property {(text: string) => void} announce
 * @property {(id: string) => boolean} hasPanel
 * @property {(id: string) => boolean} isSeen whether another panel sees this user online
 */

/**
 * @param {User} user
 * @param {PageContext} context
 */
export function createPanel(user, context) {
  const { template, users, times, log, onGraphChanged, announce } = context;
  const copy = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
  const root = /** @type {HTMLElement} */ (copy.firstElementChild);
  /** @param {string} selector */
  const find = (selector) => /** @type {HTMLElement} */ (root.querySelector(selector));
  root.dataset["user"] = user.id;
  root.setAttribute("aria-label", user.display_name);
  find(".avatar").dataset["initialsOf"] = user.display_name;
  find(".name").textContent = user.display_name;
  const [firstName] = user.display_name.split(" ");
  find(".sees").textContent = `${firstName} sees`;

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
    const near = people.filter(({ id }) => context.hasPanel(id));
    const others = people.filter(({ id }) => !context.hasPanel(id));
    find(".near").replaceChildren(...near.map(row));
    find(".others").replaceChildren(...others.map(row));
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

  const showCountdown = createCountdown(find(".countdown"));
  const offline = `${firstName} is offline`;
  const other = `${firstName} is still shown online. Is another tab or device connected?`;
  let isCut = false;
  /** @type {Record<string, () => void>} */
  const actions = {
    leave() {
      void client.leave();
      if (!isCut) showCountdown([]);
    },
    close() {
      if (store.getState().connection === "offline") {
        showCountdown([]);
        client.connect();
        return;
      }
      const isHeld = network.isHeld();
      client.close();
      if (isCut || !isHeld) return; // the server does not hear of it
      const at = Date.now() + times.grace * 1000;
      const text = `${offline}: no reload within ${times.grace}\u00a0s`;
      const hasHappened = () => !context.isSeen(user.id);
      showCountdown([{ at, text, hasHappened, otherwise: other }]);
    },
    freeze() {
      network.freeze();
      const at = network.heartbeatAt() + times.ttl * 1000;
      const text = `The server closes the socket (4408): no heartbeat for ${times.ttl}\u00a0s`;
      const before = network.heartbeatAt();
      showCountdown([{ at, text, hasHappened: () => network.heartbeatAt() > before }]);
      announce(`The page of ${user.display_name} has stopped its heartbeats`);
    },
    idle() {
      isAway = !isAway;
      client.setIdle(isAway);
      find("[data-action=idle]").setAttribute("aria-pressed", String(isAway));
      own.showIdle(isAway, isReported);
    },
    away: () => own.choose(choice() === "away" ? "active" : "away"),
    invisible: () => own.choose(choice() === "invisible" ? "active" : "invisible"),
    cut() {
      isCut = !isCut;
      root.toggleAttribute("data-cut", isCut);
      if (isCut) {
        if (network.isHeld()) showCountdown(factsOfCut());
        network.disconnect();
        announce(`The cable of ${user.display_name} is cut`);
      } else {
        showCountdown([]);
        network.reconnect();
        client.retryNow();
      }
      update();
    },
  };

  function factsOfCut() {
    return [
      {
        at: network.heardAt() + times.heartbeat * 1000,
        text: `${firstName} sees no dots: no answer for ${times.heartbeat}\u00a0s`,
        hasHappened: () => store.getState().stale,
      },
      {
        at: network.heartbeatAt() + times.ttl * 1000,
        text: `${offline}: no heartbeat for ${times.ttl}\u00a0s`,
        hasHappened: () => !network.isHeld() && !context.isSeen(user.id),
        otherwise: other,
      },
    ];
  }

  function choice() {
    const { myPresence } = store.getState();
    return myPresence === null ? null : choiceOf(myPresence);
  }

  root.addEventListener("click", ({ target }) => {
    const button = target instanceof Element ? target.closest("[data-action]") : null;
    if (!(button instanceof HTMLElement)) return;
    const action = button.dataset["action"] ?? "";
    actions[action]?.();
    context.onAction(action);
  });
  find(".befriend").addEventListener("submit", (event) => {
    event.preventDefault();
    const choice = /** @type {HTMLSelectElement} */ (find(".befriend select"));
    void changeFriendship("PUT", choice.value);
  });

  /** Each button says what it does now, and is disabled if it does nothing. */
  function update() {
    const isOffline = store.getState().connection === "offline";
    const now = choice();
    /** @type {Record<string, [label: string, isUseless: boolean]>} */
    const buttons = {
      cut: [isCut ? "Plug it in again" : "Cut the cable", false],
      close: [isOffline ? "Open the tab" : "Close the tab", isOffline && isCut],
      away: [now === "away" ? "Come back" : "Go away", now === null],
      invisible: [now === "invisible" ? "Be visible" : "Go invisible", now === null],
      leave: ["Sign out", isOffline],
      freeze: ["Stop heartbeats", isOffline || isCut],
      idle: ["Step away", isOffline],
    };
    for (const [action, [label, isUseless]] of Object.entries(buttons)) {
      const button = find(`[data-action=${action}]`);
      if (button.textContent !== label) button.textContent = label;
      button.toggleAttribute("disabled", isUseless);
    }
  }
  update();
  store.subscribe(update);
  showConnection(store, find(".connection"));
  fillAvatars(root);
  void people.reload();

  return {
    root,
    reload: people.reload,
    sees: (/** @type {string} */ id) => store.getState().isOnline(id),
    remove() {
      own.stop();
      showCountdown([]);
      client.close();
      root.remove();
    },
  };
}

/** @param {number | null} retryIn */
const nextAttempt = (retryIn) =>
  retryIn === null ? "no retry" : `next attempt in ${Math.round(retryIn)} ms`;
