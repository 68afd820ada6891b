/** Words for times and names. Pure: they take `now`. */

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/**
 * @param {number} then milliseconds since the epoch
 * @param {number} now
 * @returns {string} such as "3 min ago"
 */
export function ago(then, now) {
  // The server's clock stamps, this computer's reads: a future time is "just now".
  const past = Math.max(0, now - then);
  if (past < MINUTE) return "just now";
  if (past < HOUR) return `${Math.floor(past / MINUTE)} min ago`;
  if (past < DAY) return `${Math.floor(past / HOUR)} h ago`;
  const days = Math.floor(past / DAY);
  return days === 1 ? "yesterday" : `${days} days ago`;
}

/**
 * @param {string} name
 * @returns {string} at most two letters
 */
export function initials(name) {
  const words = name.trim().split(/\s+/);
  const ends = words.length > 1 ? [words[0], words[words.length - 1]] : words;
  return ends.map((word) => [...(word ?? "")][0] ?? "").join("").toUpperCase();
}

const HUES = 8;

/**
 * @param {string} id
 * @returns {string} one of eight classes, always the same for the same id
 */
export function hue(id) {
  let sum = 0;
  for (const letter of id) sum = (sum * 191 + (letter.codePointAt(0) ?? 0)) % 9973;
  return `hue-${sum % HUES}`;
}
