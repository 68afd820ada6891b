/** The front page: several users in one window, and the log of all their frames. */

import { createCodeList } from "./code-list.js";
import { createFrameLog } from "./frame-log.js";
import { createPanel } from "./panel.js";

/** @typedef {import("./panel.js").User} User */

/** Two friends among the demo users. Another database may have neither. */
const FIRST = ["ada", "grace"];

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** @type {User[]} */
const users = JSON.parse(byId("panels").dataset["users"] ?? "[]");
/** @type {import("./panel.js").Times} */
const times = JSON.parse(byId("panels").dataset["times"] ?? "{}");
const template = /** @type {HTMLTemplateElement} */ (byId("panel"));
const choice = /** @type {HTMLSelectElement} */ (byId("more-user"));
const frames = byId("frames");

/** @type {Map<string, ReturnType<typeof createPanel>>} */
const panels = new Map();

const announce = (/** @type {string} */ text) => {
  byId("news").textContent = text;
};
const reloadAll = () => panels.forEach(({ reload }) => void reload());

const context = {
  template,
  users,
  times,
  log: createFrameLog(frames),
  // A panel loads its list when users appear in its store or vanish from it. If a conversation
  // partner becomes a friend, the store does not change. So all panels load their lists.
  onGraphChanged: reloadAll,
  onAction: createCodeList(byId("code"), announce),
  announce,
  hasPanel: (/** @type {string} */ id) => panels.has(id),
  isSeen: (/** @type {string} */ id) => [...panels.values()].some(({ sees }) => sees(id)),
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
    onPanelsChanged();
  });
  onPanelsChanged();
}

function onPanelsChanged() {
  reloadAll(); // a list begins with the users who have a panel
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
const known = FIRST.filter((id) => users.some((user) => user.id === id));
const two = known.length === 2 ? known : users.slice(0, 2).map(({ id }) => id);
(requested.length > 0 ? requested : two).forEach(add);
