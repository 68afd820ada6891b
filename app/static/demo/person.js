/** One person's row: avatar, dot, name, and the same in words. */

import { of } from "../greendot/store.js";
import { ago, hue, initials } from "./format.js";

/** @typedef {import("../greendot/store.js").PresenceStore} PresenceStore */
/** @typedef {{id: string, display_name: string, friend: boolean}} Person */

/**
 * @param {string} tag
 * @param {string} className
 * @param {string} [text]
 */
export function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

/**
 * Fill the avatars that the templates left empty.
 *
 * @param {ParentNode} root
 */
export function fillAvatars(root = document) {
  for (const avatar of root.querySelectorAll("[data-initials-of]")) {
    const name = avatar.getAttribute("data-initials-of") ?? "";
    avatar.textContent = initials(name);
    avatar.classList.add(hue(name));
  }
}

/**
 * What may be said of a user now, as a word for the dot and a text for people.
 *
 * @param {PresenceStore} store
 * @param {string} id
 * @param {number} now
 * @returns {{presence: "online" | "offline" | "unknown", text: string}}
 */
export function presenceOf(store, id, now) {
  const { statuses, lastSeen, stale } = store.getState();
  const online = of(statuses, id);
  if (online === undefined) return { presence: "unknown", text: "…" };
  if (stale) return { presence: "unknown", text: "Not known just now" };
  if (online) return { presence: "online", text: "Online" };
  const seen = of(lastSeen, id);
  const text = seen === undefined ? "Offline" : `Last seen ${ago(seen, now)}`;
  return { presence: "offline", text };
}

/**
 * @param {PresenceStore} store
 * @param {Person} person
 * @returns {{row: HTMLElement, stop: () => void}} a list item that follows the store
 */
export function personRow(store, person) {
  const row = element("li", "person");
  row.dataset["user"] = person.id;
  const avatar = element("span", `avatar ${hue(person.display_name)}`);
  avatar.setAttribute("aria-hidden", "true");
  avatar.append(initials(person.display_name), element("span", "dot"));
  const who = element("span", "who");
  const words = element("span", "presence");
  who.append(element("span", "name", person.display_name), words);
  row.append(avatar, who);

  const show = () => {
    const { presence, text } = presenceOf(store, person.id, Date.now());
    row.dataset["presence"] = presence;
    if (words.textContent !== text) words.textContent = text;
  };
  show();
  const unsubscribe = store.subscribeUser(person.id, show);
  const timer = setInterval(show, 15_000); // "3 min ago" grows old by itself
  return {
    row,
    stop: () => {
      unsubscribe();
      clearInterval(timer);
    },
  };
}
