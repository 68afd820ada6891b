/** The code beside the actions: each action opens its own, and a button copies it. */

const SHOWN_FOR = 2_000;

/**
 * @param {HTMLElement} list contains a `details` with the attribute `data-code` per action
 * @param {(text: string) => void} announce
 * @returns {(action: string) => void} opens the code of this action, if there is any
 */
export function createCodeList(list, announce) {
  list.addEventListener("click", async ({ target }) => {
    const button = target instanceof Element ? target.closest(".copy") : null;
    if (button === null) return;
    const code = /** @type {HTMLElement} */ (button.parentElement?.querySelector("code"));
    const said = await copy(code);
    announce(said);
    button.textContent = said;
    setTimeout(() => {
      button.textContent = "Copy";
    }, SHOWN_FOR);
  });
  return (action) => {
    // All have the same name, so the browser closes the one that was open.
    list.querySelector(`[data-code=${action}]`)?.setAttribute("open", "");
  };
}

/**
 * @param {HTMLElement} code
 * @returns {Promise<string>} what has happened
 */
async function copy(code) {
  try {
    await navigator.clipboard.writeText(code.textContent ?? "");
    return "Copied";
  } catch {
    // Pages of http other than localhost have no clipboard, and a user may forbid it.
    getSelection()?.selectAllChildren(code);
    return "Selected: press Ctrl+C";
  }
}
