/** The form of one's own privacy settings: two choices, and an exception for each person. */

import { element } from "./elements.js";

/** @typedef {import("../greendot/index.js").MyPresence} MyPresence */
/** @typedef {import("../greendot/index.js").MyPresenceChanges} MyPresenceChanges */
/** @typedef {import("./status-form.js").FormContext} FormContext */
/** @typedef {"default" | "always" | "never"} Rule */

/** @type {Array<[Rule, string]>} */
const RULES = [
  ["default", "As above"],
  ["always", "Always sees me"],
  ["never", "Never sees me"],
];

/**
 * @param {HTMLFormElement} form
 * @param {FormContext} context
 * @returns {() => MyPresenceChanges} reads what the user has changed
 */
export function createPrivacyForm(form, { settings, people, nameOf }) {
  /** @param {string} name */
  const field = (name) => /** @type {HTMLSelectElement} */ (form.elements.namedItem(name));
  const visibility = field("visibility");
  const lastSeen = field("last_seen");
  visibility.value = settings.visibility;
  lastSeen.value = settings.last_seen;

  const { always, never } = settings.exceptions;
  // An exception stays when a friendship ends. It must be possible to remove it then.
  const ids = [...new Set([...people().map(({ id }) => id), ...always, ...never])];
  const list = /** @type {HTMLElement} */ (form.querySelector(".exceptions"));
  const choices = ids.map((id) => {
    const row = element("label", "exception");
    const choice = document.createElement("select");
    choice.append(...RULES.map(([value, text]) => new Option(text, value)));
    choice.value = always.includes(id) ? "always" : never.includes(id) ? "never" : "default";
    row.append(element("span", "name", nameOf(id)), choice);
    list.append(row);
    return { id, choice, before: choice.value };
  });

  return () => {
    /** @type {MyPresenceChanges} */
    const changes = {};
    const [sees, seesLast] = [visibility.value, lastSeen.value];
    if (sees !== settings.visibility) {
      changes.visibility = /** @type {MyPresence["visibility"]} */ (sees);
    }
    if (seesLast !== settings.last_seen) {
      changes.last_seen = /** @type {MyPresence["last_seen"]} */ (seesLast);
    }
    if (choices.some(({ choice, before }) => choice.value !== before)) {
      const idsOf = (/** @type {Rule} */ rule) =>
        choices.filter(({ choice }) => choice.value === rule).map(({ id }) => id);
      changes.exceptions = { always: idsOf("always"), never: idsOf("never") };
    }
    return changes;
  };
}
