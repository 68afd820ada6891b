/** What the demo pages show: avatars, rows of people, the connection line. */

import { getOwn } from "../greendot/store.js";
import { LABELS, createSign, endText, setLook } from "./look.js";

/** @typedef {import("../greendot/store.js").PresenceStore} PresenceStore */
/** @typedef {{id: string, display_name: string, friend: boolean}} Person */

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const COLOURS = 8;
const SHAPES = 3;
const REFRESH = 15_000;

const CONNECTION_TEXTS = {
  live: "Live",
  reconnecting: "Reconnecting…",
  offline: "Offline",
};

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
 * @param {number} then milliseconds since the epoch
 * @param {number} now
 * @returns {string} such as "3 min ago"
 */
function ago(then, now) {
  // `then` is of the server's clock, `now` of this computer's. So `then` may lie ahead.
  const elapsed = Math.max(0, now - then);
  if (elapsed < MINUTE) return "just now";
  if (elapsed < HOUR) return `${Math.floor(elapsed / MINUTE)} min ago`;
  if (elapsed < DAY) return `${Math.floor(elapsed / HOUR)} h ago`;
  const days = Math.floor(elapsed / DAY);
  return days === 1 ? "yesterday" : `${days} days ago`;
}

/**
 * @param {string} name
 * @returns {string} at most two letters
 */
export function initials(name) {
  const words = name.trim().split(/\s+/);
  const used = words.length > 1 ? [words[0], words[words.length - 1]] : words;
  return used.map((word) => [...(word ?? "")][0] ?? "").join("").toUpperCase();
}

/**
 * @param {string} name
 * @returns {string} the classes of a colour and a shape, always the same for the same name. With
 *   these two numbers each of the eight demo users has another colour
 */
export function hue(name) {
  let sum = 0;
  for (const letter of name) sum = (sum * 313 + (letter.codePointAt(0) ?? 0)) % 9973;
  return `hue-${sum % COLOURS} shape-${Math.floor(sum / COLOURS) % SHAPES}`;
}

/**
 * Write the initials into the avatars of the page's template.
 *
 * @param {ParentNode} root
 */
export function fillAvatars(root = document) {
  for (const avatar of root.querySelectorAll("[data-initials-of]")) {
    const name = avatar.getAttribute("data-initials-of") ?? "";
    avatar.textContent = initials(name);
    avatar.classList.add(...hue(name).split(" "));
  }
}

/**
 * Show the state of this page's connection.
 *
 * @param {PresenceStore} store
 * @param {HTMLElement} line contains an element of class `text`
 */
export function showConnection(store, line) {
  const text = /** @type {HTMLElement} */ (line.querySelector(".text"));
  let wasLive = false;
  const show = () => {
    const { connection } = store.getState();
    wasLive ||= connection === "live";
    line.dataset["connection"] = connection;
    const isFirst = !wasLive && connection === "reconnecting";
    const shown = isFirst ? "Connecting…" : CONNECTION_TEXTS[connection];
    if (text.textContent !== shown) text.textContent = shown;
  };
  show();
  store.subscribe((state, previous) => {
    if (state.connection !== previous.connection) show();
  });
}

/**
 * What the page shows for a user.
 *
 * @param {PresenceStore} store
 * @param {string} id
 * @param {number} now
 * @returns {{look: import("./look.js").Look, text: string}} the sign, and the words beside it
 */
function presenceOf(store, id, now) {
  const { statuses, lastSeen, stale, detailOf } = store.getState();
  const online = getOwn(statuses, id);
  if (online === undefined) return { look: "unknown", text: "…" };
  if (stale) return { look: "unknown", text: LABELS.unknown };
  if (online) {
    const availability = detailOf(id)?.availability ?? "active";
    const look = availability === "active" ? "online" : availability;
    return { look, text: LABELS[look] };
  }
  const seen = getOwn(lastSeen, id);
  const text = seen === undefined ? LABELS.offline : `Last seen ${ago(seen, now)}`;
  return { look: "offline", text };
}

/** @typedef {{text: string | null, emoji: string | null, expires_at: number | null}} Note */

/**
 * Show an emoji, a text and when they end. All are shown as text, whatever a user has written.
 *
 * @param {HTMLElement} line is hidden if there is nothing to show
 * @param {Note | null} note
 * @param {number} now
 */
export function showNote(line, note, now) {
  const end = note?.expires_at == null ? "" : endText(note.expires_at, now);
  const parts = [
    ["note-emoji", note?.emoji ?? ""],
    ["note-text", note?.text ?? ""],
    ["note-end", end],
  ].filter(([, text]) => text !== "");
  const shown = JSON.stringify(parts);
  if (line.dataset["shown"] === shown) return;
  line.dataset["shown"] = shown;
  line.replaceChildren(...parts.flatMap(([name = "", text]) => [element("span", name, text), " "]));
  line.hidden = parts.length === 0;
}

/**
 * A list item with a person's avatar, sign, name, presence and note.
 *
 * @param {PresenceStore} store
 * @param {Person} person
 * @returns {{row: HTMLElement, stop: () => void}} the row follows the store until `stop`
 */
export function personRow(store, person) {
  const row = element("li", "person");
  row.dataset["user"] = person.id;
  const avatar = element("span", `avatar ${hue(person.display_name)}`);
  avatar.setAttribute("aria-hidden", "true");
  const sign = createSign();
  avatar.append(initials(person.display_name), sign);
  const labels = element("span", "labels");
  const presenceText = element("span", "presence");
  const note = element("span", "note");
  labels.append(element("span", "name", person.display_name), presenceText, note);
  row.append(avatar, labels);

  const show = () => {
    const now = Date.now();
    const { look, text } = presenceOf(store, person.id, now);
    setLook(sign, look);
    row.dataset["look"] = look;
    row.dataset["presence"] = look === "away" || look === "dnd" ? "online" : look;
    if (presenceText.textContent !== text) presenceText.textContent = text;
    showNote(note, store.getState().detailOf(person.id), now);
  };
  show();
  const unsubscribe = store.subscribeUser(person.id, show);
  const timer = setInterval(show, REFRESH); // "3 min ago" changes although nothing happens
  return {
    row,
    stop: () => {
      unsubscribe();
      clearInterval(timer);
    },
  };
}
