/** A list of what will happen to a user who has lost the connection, and in how many seconds. */

import { element } from "./elements.js";

/**
 * @typedef {object} Fact
 * @property {number} at when it will happen (ms since the epoch)
 * @property {string} text
 * @property {() => boolean} hasHappened observed, so the clock alone proves nothing
 * @property {string} [otherwise] said if it has not happened in time
 */

const TICK = 250;
/** The server looks for silent connections once a second, and the news takes its way. */
const LATE = 3_000;

/**
 * @param {HTMLElement} list an `ol`, hidden while there is nothing to count down
 * @returns {(facts: Fact[]) => void} shows these facts from now on
 */
export function createCountdown(list) {
  /** @type {Fact[]} */
  let facts = [];
  let timer = 0;

  function tick() {
    const now = Date.now();
    for (const [index, { at, text, hasHappened, otherwise }] of facts.entries()) {
      const row = /** @type {HTMLElement} */ (list.children[index]);
      const [time, words] = /** @type {[HTMLElement, HTMLElement]} */ ([...row.children]);
      const isDone = now >= at && hasHappened();
      const isLate = !isDone && otherwise !== undefined && now > at + LATE;
      row.toggleAttribute("data-done", isDone);
      time.textContent = isDone ? "✓" : isLate ? "!" : countdownText(at - now);
      words.textContent = isLate ? otherwise : text;
    }
  }

  return (next) => {
    clearInterval(timer);
    facts = next;
    list.hidden = facts.length === 0;
    list.replaceChildren(
      ...facts.map(() => {
        const row = element("li", "fact");
        const time = element("span", "time");
        time.setAttribute("role", "timer");
        row.append(time, element("span", "text"));
        return row;
      }),
    );
    tick();
    if (facts.length > 0) timer = setInterval(tick, TICK);
  };
}

/** @param {number} left milliseconds */
const countdownText = (left) => (left > 0 ? `in ${Math.ceil(left / 1000)} s` : "now");
