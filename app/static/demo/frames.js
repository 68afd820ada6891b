/** The live log of frames: what goes over the wires of all users on the page. */

import { FROM_SERVER, TO_SERVER } from "../greendot/protocol.js";
import { hue, initials } from "./format.js";
import { element } from "./person.js";

/** @typedef {import("../greendot/protocol.js").Frame} Frame */

const MOST_ROWS = 200;
/** @type {ReadonlySet<string>} */
const HEARTBEATS = new Set([TO_SERVER.HEARTBEAT, FROM_SERVER.HEARTBEAT_ACK]);
const WORDS = { in: "received", out: "sent", end: "closed" };
const SIGNS = { in: "↓", out: "↑", end: "×" };

/**
 * @param {HTMLElement} list an `ol`
 * @returns {(name: string, direction: "in" | "out" | "end", what: string, data: unknown) => void}
 */
export function frameLog(list) {
  return (name, direction, what, data) => {
    const row = element("li", "frame");
    row.dataset["direction"] = direction;
    if (HEARTBEATS.has(what)) row.dataset["heartbeat"] = "";
    const now = new Date();
    const time = element("time", "when", now.toLocaleTimeString("en-GB"));
    const who = element("span", `tag ${hue(name)}`, initials(name));
    who.title = name;
    const sign = element("span", "sign", SIGNS[direction]);
    sign.setAttribute("role", "img");
    sign.setAttribute("aria-label", WORDS[direction]);
    const text = typeof data === "string" ? data : JSON.stringify(data);
    row.append(
      time,
      who,
      sign,
      element("span", "event", what),
      element("span", "data", text === "{}" ? "" : text),
    );
    // Newest first: nobody has to scroll to see what just happened.
    list.prepend(row);
    while (list.children.length > MOST_ROWS) list.lastElementChild?.remove();
  };
}
