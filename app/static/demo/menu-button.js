/** A button that opens a menu: https://www.w3.org/WAI/ARIA/apg/patterns/menu-button/ */

/**
 * In the menu, arrow keys, Home, End and first letters choose the item with the focus. Escape
 * closes the menu, and the button gets the focus again. Tab and a click elsewhere close it, too.
 *
 * @param {HTMLElement} button
 * @param {HTMLElement} menu of role `menu`. Its items are buttons that Tab does not reach
 * @param {(item: HTMLElement) => void} onChoose called when the menu is closed and the button has
 *   the focus
 */
export function createMenuButton(button, menu, onChoose) {
  /** @type {AbortController | null} of the listeners of an open menu */
  let opened = null;

  const items = () =>
    [.../** @type {NodeListOf<HTMLElement>} */ (menu.querySelectorAll("[role^=menuitem]"))].filter(
      ({ hidden }) => !hidden,
    );

  function close() {
    menu.hidden = true;
    button.setAttribute("aria-expanded", "false");
    opened?.abort();
    opened = null;
  }

  /** @param {HTMLElement | undefined} [item] default: the checked one, or the first */
  function open(item) {
    menu.hidden = false;
    button.setAttribute("aria-expanded", "true");
    opened?.abort();
    opened = new AbortController();
    for (const type of ["pointerdown", "focusin"]) {
      document.addEventListener(type, closeIfOutside, { signal: opened.signal });
    }
    const all = items();
    const checked = all.find((one) => one.getAttribute("aria-checked") === "true");
    (item ?? checked ?? all[0])?.focus();
  }

  /** @param {Event} event */
  function closeIfOutside({ target }) {
    const isInside = target instanceof Node && [button, menu].some((one) => one.contains(target));
    if (!isInside) close();
  }

  button.addEventListener("click", () => (opened === null ? open() : close()));
  button.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") open();
    else if (event.key === "ArrowUp") open(items().pop());
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
  });
  menu.addEventListener("keydown", (event) => {
    const all = items();
    const here = all.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    /** @type {Record<string, number>} */
    const targets = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: -1 };
    const target = targets[event.key];
    if (event.key === "Escape") {
      button.focus();
      close();
    } else if (target !== undefined) all[(target + all.length) % all.length]?.focus();
    else if (!focusByLetter(all, here, event)) return;
    event.preventDefault();
  });
  menu.addEventListener("click", ({ target }) => {
    const item = target instanceof Element ? target.closest("[role^=menuitem]") : null;
    if (!(item instanceof HTMLElement)) return;
    button.focus();
    close();
    onChoose(item);
  });
}

/**
 * @param {HTMLElement[]} items
 * @param {number} here index of the item that has the focus
 * @param {KeyboardEvent} event
 * @returns {boolean} whether there is an item that begins with this letter
 */
function focusByLetter(items, here, { key, ctrlKey, altKey, metaKey }) {
  if (key.length !== 1 || key === " " || ctrlKey || altKey || metaKey) return false;
  const next = [...items.slice(here + 1), ...items.slice(0, here + 1)];
  const letter = key.toLowerCase();
  const found = next.find((one) => one.textContent?.trim().toLowerCase().startsWith(letter));
  found?.focus();
  return found !== undefined;
}
