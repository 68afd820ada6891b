/** The form for one's own text and emoji, and when they end. */

import { endText, startOfTomorrow } from "./look.js";

/** @typedef {import("../greendot/index.js").MyPresence} MyPresence */
/** @typedef {import("../greendot/index.js").MyPresenceChanges} MyPresenceChanges */
/** @typedef {{id: string, display_name: string}} User */

/**
 * @typedef {object} FormContext
 * @property {MyPresence} settings as they are now
 * @property {() => User[]} people
 * @property {(id: string) => string} nameOf
 */

const MINUTE = 60_000;
const KEEP = "keep";

/** @type {Record<string, (now: number) => number | null>} */
const ENDS = {
  never: () => null,
  "half-hour": (now) => now + 30 * MINUTE,
  hour: (now) => now + 60 * MINUTE,
  tomorrow: startOfTomorrow,
};

/**
 * @param {HTMLFormElement} form
 * @param {FormContext} context
 * @returns {() => MyPresenceChanges} reads what the user has changed
 */
export function createStatusForm(form, { settings }) {
  /** @param {string} name */
  const field = (name) =>
    /** @type {HTMLInputElement | HTMLSelectElement} */ (form.elements.namedItem(name));
  const [emoji, text, end] = [field("emoji"), field("text"), field("end")];
  emoji.value = settings.emoji ?? "";
  text.value = settings.text ?? "";
  if (settings.expires_at !== null) {
    const kept = new Option(`${endText(settings.expires_at, Date.now())}, as now`, KEEP);
    end.prepend(kept);
    end.value = KEEP;
  }
  form.addEventListener("click", ({ target }) => {
    const suggestion = target instanceof Element ? target.closest("[data-text]") : null;
    if (!(suggestion instanceof HTMLElement)) return;
    emoji.value = suggestion.dataset["emoji"] ?? "";
    text.value = suggestion.dataset["text"] ?? "";
    text.focus();
  });

  return () => {
    const next = { emoji: emoji.value.trim() || null, text: text.value.trim() || null };
    /** @type {MyPresenceChanges} */
    const changes = {};
    if (next.emoji !== settings.emoji) changes.emoji = next.emoji;
    if (next.text !== settings.text) changes.text = next.text;
    const isEmpty = settings.availability === null && next.emoji === null && next.text === null;
    // An end needs something that ends.
    const expires = isEmpty ? null : ENDS[end.value]?.(Date.now());
    if (expires !== undefined && expires !== settings.expires_at) changes.expires_at = expires;
    return changes;
  };
}
