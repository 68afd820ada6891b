/**
 * What a user's presence is beside online and offline: the availability, a text, an emoji. The
 * server sends it as one object, and the store keeps that object as it is.
 */

/**
 * @typedef {"active" | "away" | "dnd"} Availability `dnd`: do not disturb
 */

/**
 * @typedef {object} Detail
 * @property {Availability} availability
 * @property {string | null} text
 * @property {string | null} emoji
 * @property {number | null} expires_at when the first of the shown values ends, in milliseconds
 *   since the epoch. The server sends a new detail then
 * @property {number} since when this availability began, in milliseconds since the epoch
 */

const FIELDS = /** @type {const} */ (["availability", "text", "emoji", "expires_at", "since"]);

/**
 * A repeated event or a new snapshot brings an equal object. With the known one in its place a
 * listener sees that nothing has changed.
 *
 * @param {Detail | null | undefined} known
 * @param {Detail | null | undefined} next
 * @returns {Detail | null | undefined} `known` if both have the same content, otherwise `next`
 */
export function keepEqual(known, next) {
  if (!known || !next) return next;
  return FIELDS.every((field) => known[field] === next[field]) ? known : next;
}
