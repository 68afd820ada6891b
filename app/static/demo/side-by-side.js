/** The side-by-side page: several users in one window, and the log of all their frames. */

import { createFrameLog } from "./frame-log.js";
import { createPanel } from "./panel.js";

/** @typedef {import("./panel.js").User} User */

const FIRST_PANELS = 3;

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** @type {User[]} */
const users = JSON.parse(byId("panels").dataset["users"] ?? "[]");
const template = /** @type {HTMLTemplateElement} */ (byId("panel"));
const choice = /** @type {HTMLSelectElement} */ (byId("more-user"));
const frames = byId("frames");

/** @type {Map<string, ReturnType<typeof createPanel>>} */
const panels = new Map();

const context = {
  template,
  users,
  log: createFrameLog(frames),
  // A panel loads its list when users appear in its store or vanish from it. If a conversation
  // partner becomes a friend, the store does not change. So all panels load their lists.
  onGraphChanged: () => panels.forEach(({ reload }) => void reload()),
  announce: (/** @type {string} */ text) => {
    byId("news").textContent = text;
  },
};

/** @param {string} id */
function add(id) {
  const user = users.find((other) => other.id === id);
  if (user === undefined || panels.has(id)) return;
  const panel = createPanel(user, context);
  panels.set(id, panel);
  byId("panels").append(panel.root);
  panel.root.querySelector(".remove")?.addEventListener("click", () => {
    panel.remove();
    panels.delete(id);
    updateChoice();
  });
  updateChoice();
}

function updateChoice() {
  const free = users.filter(({ id }) => !panels.has(id));
  choice.replaceChildren(
    ...free.map(({ id, display_name }) => new Option(display_name, id)),
  );
  byId("more").hidden = free.length === 0;
}

byId("more").addEventListener("submit", (event) => {
  event.preventDefault();
  add(choice.value);
});
byId("heartbeats").addEventListener("change", ({ target }) => {
  const { checked } = /** @type {HTMLInputElement} */ (target);
  frames.toggleAttribute("data-heartbeats", checked);
});
byId("clear").addEventListener("click", () => frames.replaceChildren());

const requested = new URLSearchParams(location.search).getAll("user");
const first = requested.length > 0 ? requested : users.slice(0, FIRST_PANELS).map(({ id }) => id);
first.forEach(add);
