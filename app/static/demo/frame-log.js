/** The live log of the frames that all users of the page send and receive. */

import { FROM_SERVER, TO_SERVER } from "../greendot/protocol.js";
import { element, hue, initials } from "./elements.js";

/** @typedef {import("../greendot/protocol.js").Frame} Frame */

const MAX_ROWS = 200;
/** @type {ReadonlySet<string>} */
const HEARTBEATS = new Set([TO_SERVER.HEARTBEAT, FROM_SERVER.HEARTBEAT_ACK]);
const LABELS = { in: "received", out: "sent", end: "closed" };
const SIGNS = { in: "↓", out: "↑", end: "×" };

/**
 * @param {HTMLElement} list an `ol`
 * @returns {(name: string, direction: "in" | "out" | "end", what: string, data: unknown) => void}
 *   adds a row
 */
export function createFrameLog(list) {
  return (name, direction, what, data) => {
    const row = element("li", "frame");
    row.dataset["direction"] = direction;
    if (HEARTBEATS.has(what)) row.dataset["heartbeat"] = "";
    const now = new Date();
    const time = element("time", "when", now.toLocaleTimeString("en-GB"));
    const user = element("span", `tag ${hue(name)}`, initials(name));
    user.title = name;
    const sign = element("span", "sign", SIGNS[direction]);
    sign.setAttribute("role", "img");
    sign.setAttribute("aria-label", LABELS[direction]);
    const text = typeof data === "string" ? data : JSON.stringify(data);
    row.append(
      time,
      user,
      sign,
      element("span", "event", what),
      element("span", "data", text === "{}" ? "" : text),
    );
    // Newest first, so that the latest frame is visible without scrolling.
    list.prepend(row);
    while (list.children.length > MAX_ROWS) list.lastElementChild?.remove();
  };
}
