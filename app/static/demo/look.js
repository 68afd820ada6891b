/** What each presence looks like, in shape and in words, and when something of it ends. */

/** @typedef {"online" | "away" | "dnd" | "offline" | "unknown"} Look */

export const LABELS = Object.freeze({
  online: "Online",
  away: "Away",
  dnd: "Do not disturb",
  offline: "Offline",
  unknown: "Status unknown",
});

// Each look has another shape, so nobody needs the colours. The shapes are SVG, because forced
// colours and printers drop backgrounds.
const SVG = "http://www.w3.org/2000/svg";
const DISC = "M0 5a5 5 0 1 0 10 0a5 5 0 1 0-10 0z";
const RING = "M1 5a4 4 0 1 0 8 0a4 4 0 1 0-8 0z"; // drawn as a line, dotted if unknown
const PATHS = Object.freeze({
  online: DISC,
  away: "M4.3.05A5 5 0 1 0 9.95 5.7A4 4 0 0 1 4.3.05z",
  dnd: `${DISC}M2 4h6v2h-6z`,
  offline: RING,
  unknown: RING,
});

/** @returns {SVGElement} a sign without a look, see `setLook` */
export function createSign() {
  const svg = /** @type {SVGElement} */ (document.createElementNS(SVG, "svg"));
  svg.setAttribute("class", "look");
  svg.setAttribute("viewBox", "0 0 10 10");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("fill-rule", "evenodd");
  svg.append(path);
  return svg;
}

/**
 * @param {SVGElement} sign
 * @param {Look} look
 */
export function setLook(sign, look) {
  if (sign.dataset["look"] === look) return;
  sign.dataset["look"] = look;
  sign.firstElementChild?.setAttribute("d", PATHS[look]);
}

/**
 * @param {number} end milliseconds since the epoch
 * @param {number} now
 * @returns {string} such as "until 14:30"
 */
export function endText(end, now) {
  const date = new Date(end);
  const time = date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  if (end < startOfTomorrow(now)) return `until ${time}`;
  if (end === startOfTomorrow(now)) return "until tomorrow";
  return `until ${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })}, ${time}`;
}

/**
 * @param {number} now
 * @returns {number} the next midnight of this computer
 */
export function startOfTomorrow(now) {
  const date = new Date(now);
  date.setHours(24, 0, 0, 0);
  return date.getTime();
}
